import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, RetryError
from data.clean import main as clean_main
from data.sources.fetch import main as fetch_main
from data.sources.pin import main as pin_main
from tests.conftest import run_module
from tests.data.crawl import http, packed, page, record, text_of
from tests.data.flaky import Site, serving

CRAWL = "CC-MAIN-2026-43"
FOLDER = f"crawl-data/{CRAWL}/segments/1.0"
PAGES = 4


def wet(number: int) -> bytes:
    """A file of texts, as Common Crawl takes them out of pages."""
    texts = [record("warcinfo", "", b"software: none\r\n")]
    for at in range(number * PAGES, (number + 1) * PAGES):
        headers = {"Content-Type": "text/plain"}
        texts.append(record("conversion", f"http://a/{at}", text_of(at).encode(), headers=headers))
    return packed(texts)


def warc(number: int) -> bytes:
    """A file of pages."""
    numbers = range(number * PAGES, (number + 1) * PAGES)
    return packed([record("response", f"http://a/{at}", http(page(at))) for at in numbers])


def entry(number: int, files: str = "wet") -> str:
    return f"{FOLDER}/{files}/CC-MAIN-{number:05d}.warc.{'wet.' if files == 'wet' else ''}gz"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A crawl of seven files of each kind."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as found:
        for files, make in (("wet", wet), ("warc", warc)):
            paths = [entry(number, files) for number in range(7)]
            found.files |= {f"/{path}": make(number) for number, path in enumerate(paths)}
            listing = gzip.compress("".join(f"{path}\n" for path in paths).encode(), mtime=0)
            found.files[f"/crawl-data/{CRAWL}/{files}.paths.gz"] = listing
        found.files["/terms"] = b"free"
        yield found


def sha256_of(site: Site, path: str) -> str:
    return hashlib.sha256(site.files[f"/{path}"]).hexdigest()


def write_recipe(folder: Path, site: Site, crawl: str, *, more: str = "") -> Path:
    path = folder / "crawl.yaml"
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  request_wait_s: 0
  items:
    - {{name: web, kind: commoncrawl, license: LicenseRef-Web, language: en, {more}
       crawl: {{name: {CRAWL}, base: '{site.url}/', {crawl}}}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{min_chars: 0, min_words: 0}}}}
""",
        encoding="utf-8",
    )
    return path


def pinned(site: Site, numbers: range | list[int], files: str = "wet") -> str:
    hashes = ", ".join(sha256_of(site, entry(number, files)) for number in numbers)
    return f"files: {files}, sha256: {sha256_of(site, f'crawl-data/{CRAWL}/{files}.paths.gz')}, pins: [{hashes}]"


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        ("first: 3", [0, 1, 2]),
        ("every: 3", [0, 3, 6]),
        ("every: 3, first: 2", [0, 3]),
        (f"listed: [{entry(5)}, {entry(2)}]", [2, 5]),
    ],
)
def test_the_chosen_entries_are_fetched_and_no_others(
    site: Site, tmp_path: Path, choice: str, numbers: list[int]
) -> None:
    fetch_main([str(write_recipe(tmp_path, site, f"{choice}, {pinned(site, numbers)}"))])
    source = json.loads((current(tmp_path / "runs", "fetch").folder / "sources.json").read_bytes())[0]
    assert [(one["url"], one["sha256"]) for one in source["files"]] == [
        (entry(number), sha256_of(site, entry(number))) for number in numbers
    ]
    assert {path for path in site.asked if "segments" in path} == {f"/{entry(number)}" for number in numbers}
    assert source["records"] == {"conversion: text": PAGES * len(numbers), "warcinfo": len(numbers)}


@pytest.mark.parametrize("files", ["wet", "warc"])
def test_every_page_becomes_a_document(site: Site, tmp_path: Path, files: str) -> None:
    terms = f"urls: [{{url: '{site.url}/terms', sha256: {hashlib.sha256(b'free').hexdigest()}}}],"
    recipe = str(write_recipe(tmp_path, site, f"first: 2, {pinned(site, [0, 1], files)}", more=terms))
    fetch_main([recipe])
    evidence = current(tmp_path / "runs", "fetch").folder / "evidence/web"
    assert sorted(path.name for path in evidence.iterdir()) == [f"{CRAWL}-{files}.paths.gz", "terms"]
    clean_main([recipe])
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())
    assert report["total"]["in"]["documents"] == report["total"]["train"]["documents"] == 2 * PAGES


def test_a_dropped_connection_is_taken_up_and_the_mirror_does_not_change_the_artifact(
    site: Site, tmp_path: Path
) -> None:
    recipe = str(write_recipe(tmp_path, site, f"first: 2, {pinned(site, [0, 1])}"))
    site.faults = ["drop", "", 503]
    fetch_main([recipe])
    first = current(tmp_path / "runs", "fetch")
    assert any(asked.startswith("bytes=") for asked in site.ranges)
    with serving() as mirror:
        mirror.files = {f"/mirror{path}": content for path, content in site.files.items()}
        moved = [
            f"sources.items.0.crawl.base={mirror.url}/mirror",
            f"sources.cache={tmp_path}/c",
            f"run.out={tmp_path}/o",
        ]
        fetch_main([recipe, *moved])
    assert current(tmp_path / "o", "fetch").digest == first.digest


def test_the_hashes_of_a_choice_are_printed_and_make_the_recipe_whole(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(write_recipe(tmp_path, site, "every: 3"))
    with pytest.raises(ConfigError, match=r"lacks crawl\.sha256, crawl\.pins"):
        fetch_main([recipe])
    pin_main([recipe])
    pins = capsys.readouterr().out.split()
    assert pins[1] == f"sources.items.0.crawl.pins=[{','.join(sha256_of(site, entry(number)) for number in (0, 3, 6))}]"
    site.files.clear()
    fetch_main([recipe, *pins])
    with pytest.raises(DataError, match=r"crawl\.pins has 3 hashes for 4 files"):
        fetch_main([recipe, *pins, "sources.items.0.crawl.every=2"])


def test_a_file_or_a_list_that_changed_is_bad_data_with_nothing_half_written(site: Site, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, site, f"first: 1, {pinned(site, [0])}"))
    good = dict(site.files)
    for path in (entry(0), f"crawl-data/{CRAWL}/wet.paths.gz"):
        site.files = {**good, f"/{path}": packed([record("warcinfo", "", b"another")])}
        with pytest.raises(DataError, match=rf"source web: \S+/{path} has SHA-256 \w+, the recipe wants "):
            fetch_main([recipe])
        shutil.rmtree(tmp_path / "cache")
        assert not list((tmp_path / "runs").glob("fetch*"))


def test_what_is_not_there_is_named(site: Site, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, site, f"first: 1, {pinned(site, [0])}"))
    with pytest.raises(DataError, match="offers 7 entries, not 9"):
        fetch_main([recipe, "sources.items.0.crawl.first=9"])
    with pytest.raises(DataError, match=r"has no entry a/b\.gz; it has 7 others"):
        fetch_main([recipe, "sources.items.0.crawl.first=0", "sources.items.0.crawl.listed=[a/b.gz]"])
    del site.files[f"/{entry(0)}"]
    with pytest.raises(DataError, match=rf"{entry(0)} is gone \(HTTP status 404\)"):
        fetch_main([recipe])
    site.faults = [500] * 9
    with pytest.raises(RetryError, match="2 attempts, last: HTTP status 500"):
        fetch_main([recipe])


def test_a_cut_off_file_that_was_pinned_so_ends_in_one_line_and_exit_66(site: Site, tmp_path: Path) -> None:
    site.files[f"/{entry(0)}"] = wet(0)[:-3]
    finished = run_module("data", "fetch", write_recipe(tmp_path, site, f"first: 1, {pinned(site, [0])}"))
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error:")]
    assert (finished.returncode, len(errors)) == (66, 1)
    assert "source web: CC-MAIN-00000.warc.wet.gz is damaged" in errors[0]


@pytest.mark.parametrize(
    ("crawl", "more", "message"),
    [
        ("", "", "would take all files of the crawl"),
        ("first: 1, listed: [a]", "", "leave out crawl.every and crawl.first"),
        ("every: 0", "", "at least 1"),
        ("first: 1, pins: [abc]", "", "64 lower-case hex digits"),
        ("first: 1, files: wat", "", "wat"),
        ("first: 1", "evidence: [terms],", "name evidence's address in urls"),
        ("first: 1", "read: {format: html},", "is a commoncrawl, not html"),
    ],
)
def test_a_mistake_in_the_choice_is_one_clear_line(
    site: Site, tmp_path: Path, crawl: str, more: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fetch_main([str(write_recipe(tmp_path, site, crawl, more=more))])
    assert site.asked.total() == 0
