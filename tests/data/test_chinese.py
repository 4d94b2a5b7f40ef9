"""Chinese, Japanese and mixed text pass every step as English does, shown on what Debian ships: the help of LibreOffice
in three languages, page by page, manual pages in Chinese, and the Three Hundred Tang Poems."""
# ruff: noqa: RUF001

import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError, DataError, RetryError
from data.documents import Document, key_of
from data.reading.archive import read_members
from data.reading.compression import plain_blocks, whole_content
from data.reading.extract import ReadConfig, raw_documents
from data.sources.debian import Package, download_package
from data.sources.download import Attempts, is_kept, keep
from data.steps.filters import FilterConfig, drop_reason
from data.steps.gopher import QualityConfig, RepetitionConfig, quality_reason, repetition_reason
from data.steps.language import LanguageConfig, identify
from data.steps.lines import LinesConfig
from data.steps.minhash import FuzzyConfig
from data.steps.normalize import normalize
from data.steps.repair import RepairConfig, repair
from data.steps.signals import Signals
from data.steps.web import C4Config, FinewebConfig, c4_lines, fineweb_reason
from data.tokenizer import Tokenizer, TokenizerConfig, split_sentences, train
from tests.data.phases import near_duplicates, shortened

HELP = "4:7.4.7-1+deb12u14"
PACKAGES = {
    "libreoffice-help-en-us": (HELP, "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712"),
    "libreoffice-help-zh-cn": (HELP, "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee"),
    "libreoffice-help-ja": (HELP, "7799ace9bfe0845771ed2499913e7f7e521318cf3727c007672e3b020f8eb7b9"),
    "fortunes-zh": ("2.98", "211c5ddee59d0ae74ce01cbfd02f7c8714740bae1835d5661eb2254edd739105"),
    "manpages-zh": ("1.6.4.0-1", "81bae29495f6445db290e3f329f1203eb19b651c2a7ea165b74ebdc853a32ac1"),
}
CHINESE = ("zh", "yue", "wuu")
PAGE = ReadConfig(left_out=["#TopLeftHeader", ".rightside", ".leftside", "#DEBUG"])
EVERY = 5  # of the pages that exist in English too each fifth: some 250 in Chinese, 180 in Japanese
MANPAGES = "usr/share/man/zh_CN/man[157]/*.gz"
POEMS = "usr/share/games/fortunes/tang300"


@cache
def package(name: str) -> Path:
    """The path of a package in the checkout's cache, where apt puts it once."""
    version, sha256 = PACKAGES[name]
    wanted = Package(name=name, version=version)
    path = ROOT / "runs/cache" / f"{sha256}-{wanted.file}"
    path.parent.mkdir(parents=True, exist_ok=True)

    def receive(aside: Path) -> None:
        download_package(wanted, aside, attempts=Attempts(count=1, wait_s=0))

    try:
        if not is_kept(path, sha256):
            keep(path, sha256, what=str(wanted), receive=receive)
    except (ConfigError, DataError, RetryError) as error:
        pytest.skip(str(error))
    return path


@cache
def help_pages(language: str) -> dict[str, str]:
    """Every fifth page of LibreOffice's help by name: in English, or those mostly translated into a language."""
    folder = {"en-us": "en-US", "zh-cn": "zh-CN"}.get(language, language)
    pages = {}
    members = list(read_members(package(f"libreoffice-help-{language}"), [f"*/{folder}/text/*.html"]))
    for name, content in members[::EVERY]:
        (raw,) = raw_documents(io.BytesIO(content), name=name, read=PAGE)
        pages[name.partition("/text/")[2]] = normalize(raw.text)
    return pages


@cache
def pairs(language: str) -> list[tuple[str, str]]:
    """The pages that say the same in a language and in English."""
    translated, english = help_pages(language), help_pages("en-us")
    found = [(translated[name], english[name]) for name in sorted(translated.keys() & english.keys())]
    return [
        (text, original)
        for text, original in found
        if len(original) > 300 and sum(char > "\u2e7f" for char in text) > 0.4 * len(text)
    ]


@cache
def manpages() -> list[str]:
    """Manual pages in Chinese without the commands of their typesetting."""
    pages = []
    for name, content in read_members(package("manpages-zh"), [MANPAGES]):
        source = whole_content(plain_blocks(io.BytesIO(content), name), name=name, most_bytes=1 << 20).decode()
        lines = (re.sub(r"\\f[BIRP]|\\", "", line) for line in source.split("\n") if not line.startswith((".", "'")))
        pages.append(normalize("\n".join(lines)))
    return [page for page in pages if len(page) > 300]


@cache
def poems() -> list[str]:
    """The poems, most of four or eight lines of five or seven letters."""
    ((_, content),) = read_members(package("fortunes-zh"), [POEMS])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", content.decode())
    return [poem for poem in map(normalize, plain.split("\n%\n")) if poem]


RULES: dict[str, Callable[[str], str]] = {
    "filters": lambda text: drop_reason(text, FilterConfig()),
    "repetition": lambda text: repetition_reason(Signals(text), RepetitionConfig()),
    "quality": lambda text: quality_reason(Signals(text), QualityConfig(min_stop_words=0)),
    "fineweb": lambda text: fineweb_reason(Signals(text), FinewebConfig()),
    "c4": lambda text: c4_lines(text, C4Config())[1],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("language", ["zh-cn", "ja"])
def test_a_rule_keeps_as_many_pages_as_of_the_same_pages_in_english(language: str, rule: str) -> None:
    pages = pairs(language)
    assert len(pages) > 150
    kept = sum(not RULES[rule](text) for text, _ in pages) / len(pages)
    kept_english = sum(not RULES[rule](original) for _, original in pages) / len(pages)
    # 0.10: an English page that misses a threshold by a word and its translation that meets it, or the reverse.
    assert kept > 0.75 and kept > kept_english - 0.10


def test_words_that_are_counted_at_white_space_would_throw_most_pages_away() -> None:
    """The control of the test above: what the rules see if a sentence is one word."""
    chunks = [(len(text.split()), len(Signals(text).words)) for text, _ in pairs("zh-cn")]
    assert sum(count < 50 for count, _ in chunks) > 0.5 * len(chunks)
    assert sum(count < 50 for _, count in chunks) < 0.05 * len(chunks)


def test_poems_and_manual_pages_pass_the_filters() -> None:
    assert len(poems()) == 313 and len(manpages()) > 400
    assert [poem for poem in poems() if drop_reason(poem, FilterConfig())] == []
    assert [page for page in manpages() if drop_reason(page, FilterConfig())] == []


def test_chinese_and_japanese_are_known_as_such() -> None:
    config = LanguageConfig()
    for texts, codes, least in (
        ([text for text, _ in pairs("zh-cn")], CHINESE, 0.95),
        ([text for text, _ in pairs("ja")], ("ja",), 0.95),
        (poems(), CHINESE, 0.99),
        (manpages(), CHINESE, 0.85),  # the rest are tables and pages that nobody has translated
    ):
        assert sum(identify(text, config) in codes for text in texts) > least * len(texts)


def test_sound_text_is_neither_repaired_nor_normalized_into_another() -> None:
    for text in [*poems(), *(text for text, _ in pairs("ja"))]:
        assert repair(text, RepairConfig(is_on=True)) == text and normalize(text) == text


def test_an_edited_page_is_a_near_duplicate_and_a_page_beside_it_is_not(tmp_path: Path) -> None:
    texts = [text for text, _ in pairs("zh-cn") if 600 < len(text) < 2000][:40]
    edited = [re.sub("单元格|文档", "表格", text) + "\n本页由用户修改过。" for text in texts]
    documents = [Document(key_of(text), "a", text, str(number)) for number, text in enumerate(texts)]
    documents += [Document(key_of(text), "b", text, f"edited {number}") for number, text in enumerate(edited)]
    config = FuzzyConfig(is_on=True, seed=1, min_jaccard=0.7)
    twins = near_duplicates(documents, ["a", "b"], config, tmp_path)
    found = [twins.get(key_of(edit)) == key_of(text) for text, edit in zip(texts, edited, strict=True)]
    assert sum(found) > 0.8 * len(texts)
    assert not twins.keys() & {key_of(text) for text in texts}


def test_a_line_that_many_pages_share_is_taken_out_of_all_but_the_first(tmp_path: Path) -> None:
    shared = "要访问此命令，请在菜单中选择「工具 - 选项」，然后在对话框中点击相应的条目，再按照上文所述的步骤进行操作。"
    texts = [f"{text}\n{shared}" for text, _ in pairs("zh-cn")[:5]]
    documents = [Document(key_of(text), "a", text, str(number)) for number, text in enumerate(texts)]
    left = shortened(documents, ["a"], LinesConfig(is_on=True, min_chars=40, min_documents=3), tmp_path)
    assert sum(shared not in left.get(document.origin, document.text) for document in documents) == 4


def test_a_tokenizer_gives_every_text_back_and_knows_the_common_letters(tmp_path: Path) -> None:
    texts = [text for language in ("zh-cn", "ja") for text, _ in pairs(language)] + manpages()[:100]
    sentences = (sentence for text in texts for sentence in split_sentences(text, max_bytes=4096))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train(sentences, TokenizerConfig(vocab_size=6000, character_coverage=0.998)))
    tokenizer = Tokenizer.open(path)
    for text in [*texts, *poems()]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # A letter that is in no piece costs three tokens; of what it was trained on a token holds more than one letter.
    assert sum(len(tokenizer.encode(text)) for text in texts) < sum(map(len, texts))
