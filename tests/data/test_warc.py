import io
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType

from core.artifact import current
from core.errors import ConfigError, DataError, RetryError
from data.clean import main as clean_main
from data.reading.archive import read_members
from data.reading.extract import OnError, Raw, ReadConfig
from data.reading.warc import count_records
from data.sources.fetch import main as fetch_main
from tests.conftest import run_module
from tests.data.crawl import crawl, http, packed, page, record, text_of
from tests.data.packed import gzipped
from tests.data.test_extract import texts

DROP = ReadConfig(on_error=OnError.DROP)
COUNTS = {
    "request": 20,
    "response: html": 20,
    "response: html, status 404": 1,
    "response: not http": 1,
    "response: other": 2,
    "response: xhtml": 4,
    "revisit": 1,
    "warcinfo": 1,
}


def write_recipe(folder: Path, path: Path, *, on_error: str = "stop") -> Path:
    folder.mkdir(exist_ok=True)
    recipe = folder / "warc.yaml"
    recipe.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  items:
    - {{name: crawl, kind: warc, path: {path}, license: CC0-1.0, language: en, read: {{on_error: {on_error}}}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{min_chars: 0, min_words: 0}}}}
""",
        encoding="utf-8",
    )
    return recipe


def one(block: bytes, *, kind: str = "response", read: ReadConfig = DROP) -> list[Raw]:
    return texts(record(kind, "http://a/", block), "a.warc", read)


@pytest.mark.parametrize(("name", "content"), [("a.warc", b"".join(crawl())), ("a.warc.gz", packed(crawl()))])
def test_every_page_is_a_document_and_every_record_is_counted(name: str, content: bytes) -> None:
    found = texts(content, name)
    assert [(raw.text.strip(), raw.origin) for raw in found] == [
        (text_of(number), f"a.warc#http://a/{number}") for number in range(24)
    ]
    assert count_records(io.BytesIO(content), name=name) == COUNTS
    assert sum(COUNTS.values()) == len(crawl())


def test_fastwarc_finds_the_same_responses_in_a_whole_file() -> None:
    content = packed(crawl())
    theirs = [
        (str(found.headers["WARC-Target-URI"]), found.content_length)
        for found in ArchiveIterator(io.BytesIO(content), record_types=WarcRecordType.response, parse_http=False)
    ]
    assert len(theirs) == sum(count for name, count in COUNTS.items() if name.startswith("response"))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_an_error_where_fastwarc_stops_without_a_word(kept: float) -> None:
    for name, content in (("a.warc", b"".join(crawl())), ("a.warc.gz", packed(crawl()))):
        cut = content[: int(len(content) * kept)]
        with pytest.raises(DataError, match=r"a\.warc.* (declares|damaged)"):
            count_records(io.BytesIO(cut), name=name)
    assert len(list(ArchiveIterator(io.BytesIO(cut)))) < len(crawl())


def test_every_place_to_cut_is_an_error_but_the_end_of_a_record() -> None:
    first, second = crawl()[:2]
    for content, name, ends in (
        (first + second, "a.warc", {len(first)}),
        (packed([first, second]), "a.warc.gz", {len(packed([first]))}),
    ):
        silent = {cut for cut in range(1, len(content)) if is_read(content[:cut], name)}
        assert silent == ends


def is_read(content: bytes, name: str) -> bool:
    try:
        count_records(io.BytesIO(content), name=name)
    except DataError:
        return False
    return True


def test_a_flipped_bit_in_the_middle_is_an_error() -> None:
    for name, content in (("a.warc", b"".join(crawl())), ("a.warc.gz", packed(crawl()))):
        for at in range(len(content) // 2, len(content) // 2 + 40):
            damaged = bytearray(content)
            damaged[at] ^= 4
            # A header that no check covers may change unseen in a plain file; a block may not.
            assert name == "a.warc" or not is_read(bytes(damaged), name)
    block = http(page(0))
    damaged = bytearray(record("response", "http://a/", block))
    damaged[-20] ^= 1
    with pytest.raises(DataError, match="block digest"):
        count_records(io.BytesIO(bytes(damaged)), name="a.warc")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.warc", b"<html>no archive</html>", "is not a WARC: record 1 begins with b'<html>no"),
        ("a.warc", b"", "holds no record"),
        ("a.warc.gz", b"plain", "is damaged"),
        ("a.warc.gz", gzipped(b"plain"), "is not a WARC"),
        ("a.warc", b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "no length"),
        ("a.warc", b"WARC/1.0\r\nContent-Length: -1\r\n\r\n", "no length"),
        ("a.warc", b"WARC/1.0\r\nContent-Length: 999999999999999\r\n\r\nabc", "declares 999999999999999 bytes"),
        ("a.warc", record("metadata", "a", b"abc", headers={"Content-Length": "2"}), "not by two line ends"),
    ],
)
def test_what_is_no_sound_archive_is_one_clear_error(name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        count_records(io.BytesIO(content), name=name)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzipped(page(1))),
        ({"Content-Encoding": "deflate"}, zlib.compress(page(1))),
        ({"Content-Encoding": "br"}, brotli.compress(page(1))),
        ({"Content-Encoding": "zstd"}, zstandard.compress(page(1))),
        (
            {"Transfer-Encoding": "chunked"},
            b"5;a=b\r\n" + page(1)[:5] + b"\r\n%x\r\n" % len(page(1)[5:]) + page(1)[5:] + b"\r\n0\r\n\r\n",
        ),
        ({"Content-Length": "3"}, page(1)),
    ],
)
def test_encodings_of_http_are_undone(headers: dict[str, str], body: bytes) -> None:
    assert one(http(body, headers=headers)) == [Raw(text_of(1), "a.warc#http://a/")]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "9999"}, page(1)),
        ({"Content-Encoding": "gzip"}, gzipped(page(1))[:-6]),
        ({"Content-Encoding": "secret"}, page(1)),
        ({"Transfer-Encoding": "chunked"}, b"ff\r\n" + page(1)),
    ],
)
def test_a_page_that_cannot_be_read_is_counted_or_stops_with_its_address(headers: dict[str, str], body: bytes) -> None:
    block = http(body, headers=headers)
    assert [raw.problem for raw in one(block)] == ["unreadable_http"]
    with pytest.raises(DataError, match=r"a\.warc record 1 \(http://a/\) is unreadable \(unreadable_http\)"):
        one(block, read=ReadConfig())


def test_the_servers_encoding_is_heard_and_texts_of_a_wet_file_are_documents() -> None:
    assert one(http("<p>汉字</p>".encode("gbk"), kind="text/html; charset=gb2312"))[0].text == "汉字"
    assert one("汉字".encode(), kind="conversion")[0].text == "汉字"


def test_fetch_counts_the_records_and_clean_finds_each_page(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(packed(crawl()))
    recipe = str(write_recipe(tmp_path, tmp_path / "a.warc.gz"))
    fetch_main([recipe])
    fetched = current(tmp_path / "runs", "fetch")
    assert fetched.facts["records"] == {"crawl": COUNTS}
    assert json.loads((fetched.folder / "sources.json").read_bytes())[0]["records"] == COUNTS
    clean_main([recipe])
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())
    assert report["total"]["in"]["documents"] == report["total"]["train"]["documents"] == 24
    with pytest.raises(ConfigError, match="is a warc, not html"):
        fetch_main([recipe, "sources.items.0.read.format=html"])


def test_a_truncated_archive_ends_fetch_in_one_line_and_exit_66(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(packed(crawl())[:-1])
    finished = run_module("data", "fetch", write_recipe(tmp_path, tmp_path / "a.warc.gz"))
    assert (finished.returncode, finished.stderr.count("\n")) == (66, 1)
    assert finished.stderr.startswith("error: source crawl: a.warc.gz is damaged")
    assert not list((tmp_path / "runs").glob("fetch*"))


@pytest.mark.skipif(shutil.which("wget") is None, reason="wget, which makes the crawl, is not installed")
def test_every_page_of_a_real_crawl_is_accounted_for(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    names = [f"{number}.html" for number in range(15)] + [f"{number}.xhtml" for number in range(15, 20)]
    for number, name in enumerate(names):
        (site / name).write_bytes(page(number))
    (site / "again.html").write_bytes(page(0).replace(b"<body>", b"<body><!-- the same text -->"))
    (site / "broken.html").write_bytes(
        b'<meta charset="utf-8"><p>A page that is not in the encoding it claims: \xff\xfe'
    )
    (site / "picture.png").write_bytes(b"\x89PNG")
    others = ("again.html", "broken.html", "picture.png", "gone.html")
    links = "".join(f'<a href="{name}">{name}</a>' for name in (*names, *others))
    (site / "index.html").write_text(f"<html><body><p>The index of all pages.</p>{links}</body></html>")
    crawl_with_wget(site, tmp_path)
    fetched, report = through_clean(tmp_path, tmp_path / "site.warc.gz")
    assert (fetched["response: html"], fetched["response: xhtml"]) == (18, 5)
    assert (fetched["response: html, status 404"], fetched["response: other"]) == (1, 1)
    assert report["in"]["documents"] == 23 == report["train"]["documents"] + report["dropped"]["documents"]
    assert report["dropped"]["reasons"] == {"duplicate": 1, "unreadable_encoding": 1}
    content = (tmp_path / "site.warc.gz").read_bytes()
    assert sum(fetched.values()) == len(list(ArchiveIterator(io.BytesIO(content))))


def crawl_with_wget(site: Path, folder: Path) -> None:
    """Serve a folder, and have wget follow its links into `folder`/site.warc.gz."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        command = ["wget", "-q", "-r", "-p", "-l", "1", "--delete-after", "-e", "robots=off", "--warc-file=site"]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        address = f"http://127.0.0.1:{server.server_port}/"
        subprocess.run([*command, address], cwd=folder, env=environment, timeout=120, check=False)
        server.shutdown()


def through_clean(folder: Path, path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Fetch and clean a web archive: its records by outcome, and what the report says of it."""
    recipe = str(write_recipe(folder, path, on_error="drop"))
    fetch_main([recipe])
    clean_main([recipe])
    report = json.loads((current(folder / "runs", "clean").folder / "report.json").read_bytes())
    return current(folder / "runs", "fetch").facts["records"]["crawl"], report["total"]


# 28 pages of HTML and 16 of XHTML, some of them of equal text, 2.3 MB; of Debian 12.
POLICY = "{name: policy, kind: debian, package: debian-policy, version: 4.6.2.0, \
sha256: ef9d01b625c3b87c3a845c2cd1b66f1a16e9240b2b9e5bee53472a00e8457a39, license: GPL-2.0-or-later, language: en, \
read: {members: ['*.html'], on_error: drop}}"


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt, which brings the documentation, is not here")
def test_every_page_of_debians_documentation_is_accounted_for_and_the_archive_is_the_same_every_time(
    tmp_path: Path,
) -> None:
    plain = tmp_path / "plain"
    recipe = write_recipe(plain, Path("-"))
    recipe.write_text(re.sub(r"\{name: crawl.*", POLICY, recipe.read_text()))
    try:
        fetch_main([str(recipe)])
    except (DataError, RetryError) as error:
        pytest.skip(f"apt cannot reach the documentation: {error}")
    clean_main([str(recipe)])
    archive = next((current(plain / "runs", "fetch").folder / "archives/policy").iterdir())
    content = packed(records_of(archive))
    assert packed(records_of(archive)) == content
    (tmp_path / "policy.warc.gz").write_bytes(content)
    fetched, report = through_clean(tmp_path, tmp_path / "policy.warc.gz")
    # Six of the XHTML pages are served as text/html, or without a useful type and without an XML declaration.
    assert (fetched["response: html"], fetched["response: xhtml"]) == (28 + 6, 16 - 6)
    assert fetched["response: other"] == len(records_of(archive)) - 44 > 0
    kept, dropped = report["train"]["documents"], sum(report["dropped"]["reasons"].values())
    assert report["in"]["documents"] == 44 == kept + dropped
    # Read as files of the package, the same pages become the same documents.
    texts = [
        {json.loads(line)["key"] for shard in sorted((folder / "train").iterdir()) for line in shard.open()}
        for folder in (current(place / "runs", "clean").folder for place in (plain, tmp_path))
    ]
    assert texts[0] == texts[1] and len(texts[0]) == kept > 30


def records_of(archive: Path) -> list[bytes]:
    """Every file of a package as a server might send it: XHTML under each of the types that are in use for it."""
    kinds = itertools.cycle(["application/xhtml+xml", "text/xml", "application/xml", "text/html", ""])
    found = []
    for name, content in read_members(archive, ["*"]):
        is_html = name.endswith(".html")
        kind = (next(kinds) if b"XHTML" in content[:300] else "text/html") if is_html else "application/octet-stream"
        found.append(record("response", f"http://doc/{name}", http(content, kind=kind)))
    return found


class Quiet(SimpleHTTPRequestHandler):
    """A file server that knows XHTML and says nothing."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".xhtml": "application/xhtml+xml"}  # noqa: RUF012

    def log_message(self, format: str, *arguments: object) -> None:
        pass
