"""A run that takes weights is held to their tokenizer, wherever that can be known."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.hashing import hash_file, sha256_hex
from data.loader import Loader
from data.tokenizer import with_specials
from tests.train.chats import Chats
from train.config import Objective
from train.recipe import Recipe, read_recipe
from train.vocabulary import check_tokenizer, find_tokenizer


@pytest.fixture
def run(chats: Chats, tmp_path: Path) -> Path:
    """A checkpoint in a folder of artifacts that has the run's pack and tokenizer beside."""
    for stage in ("pack", "tokenizer"):
        (found,) = chats.tiny.inputs.glob(f"{stage}-*")
        shutil.copytree(found, tmp_path / found.name)
    artifact = chats.parent.parent.parent
    shutil.copytree(artifact, tmp_path / artifact.name)
    return tmp_path / artifact.name / "checkpoints" / chats.parent.name


@pytest.fixture
def loader(chats: Chats) -> Loader:
    """A pack whose tokenizer is nobody's."""
    pack = next(chats.packs[Objective.SFT].glob("pack-*"))
    return Loader.open(pack, micro_batches=1, micro_batch=1)


def recipe_of(chats: Chats, checkpoint: Path) -> Recipe:
    recipe, *overrides = chats.arguments(Path("unused"), Objective.SFT)
    found = read_recipe(recipe, overrides)
    return replace(found, train=replace(found.train, start=replace(found.train.start, checkpoint=checkpoint)))


def test_a_pack_with_another_tokenizer_is_refused_and_one_that_took_it_over_is_not(
    chats: Chats, run: Path, loader: Loader
) -> None:
    recipe, path = recipe_of(chats, run), find_tokenizer(run)
    assert path and path.parent.name.startswith("tokenizer-")
    with pytest.raises(ConfigError, match=r"the pack has the tokenizer 000000000000, but the weights of .* were made"):
        check_tokenizer(recipe, loader)
    for sound in (hash_file(path), sha256_hex(with_specials(path.read_bytes()))):
        loader.tokenizer_sha256 = sound
        check_tokenizer(recipe, loader)


def test_the_tokenizer_of_a_bundle_is_that_of_its_weights_and_of_its_checkpoints(run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "weights" / "final").mkdir(parents=True)
    (bundle / "checkpoints" / "step-000002").mkdir(parents=True)
    (bundle / "tokenizer").mkdir()
    (bundle / "MANIFEST.jsonl").touch()
    model = shutil.copyfile(find_tokenizer(run) or "", bundle / "tokenizer" / "tokenizer.model")
    assert find_tokenizer(bundle) == find_tokenizer(bundle / "checkpoints" / "step-000002") == model


def test_where_nothing_tells_the_tokenizer_nothing_is_refused(chats: Chats, loader: Loader) -> None:
    assert find_tokenizer(chats.parent) is None
    check_tokenizer(recipe_of(chats, chats.parent), loader)
