"""The recipe of the documentation corpus: what can be known of it without its sources."""

from core.config import load
from data.cleanconfig import CleanConfig
from data.engineconfig import EngineConfig
from data.packconfig import PackConfig
from data.sources.config import Kind, SourcesConfig
from data.tokenizer import TokenizerConfig

RECIPE = "corpus/docs"


def test_every_section_of_the_corpus_recipe_is_sound_and_names_the_same_sources() -> None:
    sources = load(RECIPE, "sources", SourcesConfig).items
    names = [source.name for source in sources]
    load(RECIPE, "clean", CleanConfig).check_sources(names)
    assert sorted(load(RECIPE, "pack", PackConfig).weights) == sorted(names)
    assert load(RECIPE, "tokenizer", TokenizerConfig).vocab_size == 32_768
    assert load(RECIPE, "data", EngineConfig).workers >= 1


def test_every_source_of_the_corpus_is_pinned_and_says_what_its_licence_rests_on() -> None:
    for source in load(RECIPE, "sources", SourcesConfig).items:
        assert len(source.sha256) == 64 and source.version and source.license_note, source.name
        assert source.kind is Kind.DEBIAN or source.evidence, source.name


def test_translations_stand_behind_their_original() -> None:
    """Of what is equal the first source in the recipe keeps its own: an untranslated page must stay English."""
    sources = load(RECIPE, "sources", SourcesConfig).items
    for package in {source.package for source in sources}:
        languages = [source.language for source in sources if source.package == package]
        assert "en" not in languages[1:], package
