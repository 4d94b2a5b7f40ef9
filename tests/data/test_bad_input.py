"""Bad input through the real verbs: each kind is one clear line and exit code 66, or a counted drop; nothing is lost.

What only cuts or flips bytes of one format is in test_extract.py, test_tables.py, test_warc.py and test_sources.py.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from core.artifact import current
from core.codetree import ROOT
from core.errors import DataError
from data.clean import main as clean_main
from data.reading import warc
from data.sources.fetch import main as fetch_main
from tests.conftest import run_module
from tests.data.crawl import http, page, record
from tests.data.packed import gzipped
from tests.data.verbs import TEXTS, TXT, refused, run, texts_of

JSONL = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
HALF = len(JSONL) // 2
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
BOMB = b"x" * 3_000_000
SMALL = "max_record_bytes: 200000"
NOBODY = 65534


def write_recipe(folder: Path, *, read: str = "", path: str = "") -> Path:
    """A recipe over all files below `folder`/corpus, read as `read` says."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  items:
    - {{name: a, kind: files, path: {path or folder / "corpus" / "*"}, license: CC0-1.0, language: en,
       read: {{{read}}}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{max_word_chars: 100000000}}}}
""",
        encoding="utf-8",
    )
    return recipe


def put(folder: Path, name: str | bytes, content: bytes) -> bytes:
    """Write a file of the corpus, whatever bytes its name has; return its path."""
    (folder / "corpus").mkdir(exist_ok=True)
    path = os.path.join(os.fsencode(folder / "corpus"), os.fsencode(name))  # noqa: PTH118 (names that are no text)
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(content)
    return path


DEEP = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
MANY_DIGITS = b'{"text": "%s", "n": %s}\n' % (TEXTS[0].encode(), b"7" * 5000)


def parquet(texts: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), buffer)
    return buffer.getvalue()


# Name of the file, its bad content, and what the line says; the mended file always holds TEXTS.
BAD: list[tuple[str, bytes, str]] = [
    *(
        (f"b.jsonl.{ending}", pack(JSONL[:HALF]) + b"?" + pack(JSONL[HALF:])[1:], f"b.jsonl.{ending} is damaged")
        for ending, pack in PACK.items()
    ),
    *(
        (f"b.jsonl.{ending}", pack(JSONL) + b"left over", f"b.jsonl.{ending} is damaged")
        for ending, pack in PACK.items()
    ),
    *((f"b.jsonl.{ending}", JSONL, f"b.jsonl.{ending} is damaged") for ending in PACK),
    ("b.jsonl.gz", b"", "b.jsonl.gz is damaged: nothing comes out of it"),
    ("b.jsonl.gz", gzipped(b""), "b.jsonl.gz is damaged: nothing comes out of it"),
    ("b.jsonl", JSONL + DEEP, r"b\.jsonl line 41 is unreadable \(unreadable_json\)"),
    ("b.json", b"[" * 100_000, r"b\.json line 1 is unreadable \(unreadable_json\)"),
    ("b.json", b"[%s]" % MANY_DIGITS, r"b\.json line 1 is unreadable \(unreadable_json\)"),
    ("b.json", b"", r"b\.json line 1 is unreadable \(unreadable_json\)"),
    ("b.jsonl", b"[" + JSONL.replace(b"\n", b",\n") + b"{}]", r"b\.jsonl line 1 is unreadable"),
    ("b.jsonl", JSONL + b"\xef\xbb\xbf" + JSONL, r"b\.jsonl line 41 is unreadable"),
    ("b.txt", "\n\n".join(TEXTS).encode("utf-16"), r"b\.txt line 1 is unreadable \(unreadable_utf8\)"),
    ("b.txt", TXT + b"\n\n\xed\xa0\x80 half a pair", r"b\.txt line 81 is unreadable \(unreadable_utf8\)"),
    ("b.txt", TXT + "\n\nfaçade".encode("latin-1"), r"b\.txt line 81 is unreadable \(unreadable_utf8\)"),
    ("b.csv", b'text\none\n"' + TXT, r"b\.csv line 3 is unreadable \(unreadable_csv\)"),
    ("b.parquet", parquet(TEXTS)[:-5], "b.parquet is not a sound Parquet file"),
    ("b.xml", b"<a>" * 50_000, r"b\.xml is unreadable \(unreadable_xml\)"),
]
SOUND = {
    "txt": TXT,
    "jsonl": JSONL,
    "json": json.dumps([{"text": text} for text in TEXTS]).encode(),
    "csv": ("text\n" + "\n".join(TEXTS)).encode(),
    "parquet": parquet(TEXTS),
    "xml": f"<a>{' '.join(TEXTS)}</a>".encode(),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_content_is_one_clear_line_and_the_run_after_the_mend_has_all(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    put(tmp_path, "a.jsonl", JSONL[:HALF].rpartition(b"\n")[0])
    put(tmp_path, name, content)
    recipe = write_recipe(tmp_path)
    line = refused(recipe)
    assert re.search(message, line), line
    _, form, *packed = name.split(".")
    put(tmp_path, name, PACK[packed[0]](SOUND[form]) if packed else SOUND[form])
    run(recipe)
    assert {" ".join(text.split()) for text in texts_of(recipe)} >= ({" ".join(TEXTS)} if form == "xml" else set(TEXTS))


LARGE: list[tuple[str, bytes, str]] = [
    *((f"b.txt.{ending}", pack(BOMB), r"b\.txt line 1 holds more than 200,000 bytes") for ending, pack in PACK.items()),
    ("b.txt.gz", gzipped(b"x\n" * 200_000), r"b\.txt from line 1 on holds more than 200,000 bytes"),
    ("b.jsonl.gz", gzipped(JSONL + BOMB), r"b\.jsonl line 41 holds more than 200,000 bytes"),
    (
        "b.json.gz",
        gzipped(b"[" + b"\n" * 400_000 + b"]"),
        r"b\.json from line 1 on holds more than 200,000 bytes",
    ),
    ("b.html.gz", gzipped(BOMB), r"b\.html\.gz holds more than 200,000 bytes"),
    ("b.parquet.gz", gzipped(BOMB), r"b\.parquet\.gz holds more than 200,000 bytes"),
    (
        "b.csv.gz",
        gzipped(b'text\n"' + b"x\n" * 200_000 + b'"'),
        r"b\.csv line 2 is unreadable \(unreadable_csv\)",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), LARGE)
def test_a_decompression_bomb_stops_at_the_limit_of_a_record(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    put(tmp_path, name, content)
    assert len(content) < 20_000
    assert re.search(message, refused(write_recipe(tmp_path, read=SMALL)))


def test_many_records_may_have_more_than_the_limit_of_one(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jsonl.gz",
        gzipped(b"".join(b'{"text": "%d %s"}\n' % (n, b"x y " * 20_000) for n in range(9))),
    )
    assert run(write_recipe(tmp_path, read=SMALL))["train"]["documents"] == 9


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstandard.compress)],
)
def test_a_bomb_in_a_crawl_is_one_unreadable_page(
    encoding: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warc, "BODY_BYTES", 1 << 20)  # so that the bomb needs no 256 MB
    bodies = [page(1), b"<p>" + BOMB, page(2)]
    served = [http(pack(body), headers={"Content-Encoding": encoding}) for body in bodies]
    put(tmp_path, "a.warc", b"".join(record("response", f"http://a/{n}", block) for n, block in enumerate(served)))
    report = run(write_recipe(tmp_path, read="on_error: drop"))
    assert (report["train"]["documents"], report["dropped"]["reasons"]) == (2, {"unreadable_http": 1})


def test_unreadable_records_are_counted_by_reason_and_the_others_stay(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jsonl",
        JSONL + DEEP + b'{"text": 7}\n{"text": null}\n[]\n{"tex\xff": 1}\n{"text": \n' + MANY_DIGITS,
    )
    put(
        tmp_path,
        "b.json",
        json.dumps([{"text": "Of this list the second is no record, but the first one is."}, 5]).encode(),
    )
    put(tmp_path, "c.txt", b"Latin-1: fa\xe7ade\n\nThe paragraph that comes after it is sound text.\n")
    put(tmp_path, "d.csv", b"id,text\n1,The first row of this table is sound and long enough.\n2,too,many\n")
    put(tmp_path, "e.xml", b"<a><b></a>")
    recipe = write_recipe(tmp_path, read="on_error: drop")
    assert run(recipe)["dropped"]["reasons"] == {
        "no_text_field": 4,
        "too_few_chars": 1,
        "unreadable_csv": 1,
        "unreadable_json": 3,
        "unreadable_utf8": 2,
        "unreadable_xml": 1,
    }
    assert len(texts_of(recipe)) == len(TEXTS) + 2


def test_damaged_compression_stops_also_where_unreadable_records_are_dropped(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl.bz2", bz2.compress(JSONL[:HALF]) + b"?" + bz2.compress(JSONL[HALF:])[1:])
    assert "is damaged" in refused(write_recipe(tmp_path, read="on_error: drop"))


def test_strange_characters_marks_and_line_ends_leave_the_same_documents(tmp_path: Path) -> None:
    strange = [
        "\ufeff" + TEXTS[0],
        TEXTS[1].replace(" ", "\u2581"),
        TEXTS[2].replace("text", "te\x00xt\x1b"),
        TEXTS[3] + " \ud800",
        TEXTS[4],
        TEXTS[4],
    ]
    put(tmp_path, "a.jsonl", "".join(json.dumps({"id": 1, "text": text}) + "\r\n" for text in strange).encode())
    put(tmp_path, "b.txt", b"\xef\xbb\xbf" + "\r\n\r\n".join(TEXTS[5:10]).encode())
    put(tmp_path, "c.csv", ("\ufefftext\r\n" + "\r\n".join(TEXTS[10:])).encode())
    for name in ("d.txt", "e.jsonl", "f.csv", "g.html"):
        put(tmp_path, name, b"")
    recipe = write_recipe(tmp_path)
    report = run(recipe)
    kept = texts_of(recipe)
    assert report["dropped"]["reasons"] == {"duplicate": 1, "empty": 1, "undecoded": 1}
    assert kept == {text for text in TEXTS if text != TEXTS[3]}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt", "a.csv", "a.html"])
def test_nothing_but_an_empty_file_is_an_error(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, b"")
    assert re.search("none is left to train|line 1 is unreadable", refused(write_recipe(tmp_path)))


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"two\nlines.txt", b"back\x08.txt"])
def test_a_file_name_that_cannot_be_written_down_is_refused(name: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, name, TXT)
    recipe = write_recipe(tmp_path)
    assert "rename it" in refused(recipe)
    os.rename(path, put(tmp_path, "汉字 plain.txt", b""))  # noqa: PTH104 (names that are no text)
    assert run(recipe)["train"]["documents"] == len(TEXTS)


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", TXT)
    (tmp_path / "corpus" / "b.txt").symlink_to(tmp_path / "gone.txt")
    recipe = write_recipe(tmp_path)
    assert re.search(r"b\.txt cannot be read: No such file or directory", refused(recipe))
    (tmp_path / "gone.txt").write_bytes(b"Now the text is where the link leads to, and long enough.")
    assert run(recipe)["train"]["documents"] == len(TEXTS) + 1


def test_a_file_without_permission_is_one_clear_line() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        folder = Path(name)
        put(folder, "a.txt", TXT)
        recipe = write_recipe(folder)
        assert run(recipe)["train"]["documents"] == len(TEXTS)
        (folder / "corpus" / "a.txt").chmod(0)
        folder.chmod(0o777)
        with not_as_root(), pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
            fetch_main([str(recipe), f"run.out={folder}/other"])
        (folder / "corpus" / "a.txt").chmod(0o644)
        assert run(recipe)["train"]["documents"] == len(TEXTS)


@contextmanager
def not_as_root() -> Iterator[None]:
    """Root may read everything; so act as somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_sources_may_vanish_after_fetch_but_its_artifact_may_not(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", TXT)
    recipe = write_recipe(tmp_path)
    fetch_main([str(recipe)])
    content = Path(os.fsdecode(path)).read_bytes()
    os.remove(path)  # noqa: PTH107
    copy = current(tmp_path / "runs", "fetch").folder / "archives" / "a" / "a.txt"
    for damage in (copy.unlink, lambda: copy.write_bytes(content.replace(b"Sound", b"Drown"))):
        damage()
        with pytest.raises(DataError, match=r"a/a\.txt (is listed in .* but missing|has SHA-256 )"):
            clean_main([str(recipe)])
    assert not list((tmp_path / "runs").glob("clean*"))
    copy.write_bytes(content)
    clean_main([str(recipe)])
    assert texts_of(recipe) == set(TEXTS)


def test_the_verb_itself_ends_in_one_line_and_exit_code_66(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl.zst", zstandard.compress(JSONL)[:-9])
    recipe = write_recipe(tmp_path)
    assert run_module("data", "fetch", recipe).returncode == 0
    done = run_module("data", "clean", recipe)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (66, "", 1)
    assert done.stderr.startswith("error: a.jsonl.zst is damaged: its last stream has no end")


LINE_BYTES = 100_000_000
# Bytes of memory for each of the line's: what was read, the text, its normal form, words, and copies for a moment.
COPIES = 18
WORDS = b"y" * 149 + b" "


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.jsonl", b"x"),
        # ten seconds and more each
        pytest.param("a.txt", b"x", marks=pytest.mark.slow),
        pytest.param("a.jsonl", WORDS, marks=pytest.mark.slow),
    ],
)
def test_a_line_of_100_mb_is_one_document_and_memory_stays_in_bounds(name: str, unit: bytes, tmp_path: Path) -> None:
    put(tmp_path, "sound.txt", TXT)
    recipe = write_recipe(tmp_path)
    least = peak_bytes("fetch", recipe)
    line = unit * (LINE_BYTES // len(unit))
    put(tmp_path, name, b'{"text": "' + line + b'"}\n' if name.endswith("jsonl") else line)
    assert peak_bytes("fetch", recipe) < least + LINE_BYTES // 2
    assert peak_bytes("clean", recipe) < least + COPIES * LINE_BYTES
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())["total"]
    assert report["in"]["documents"] == len(TEXTS) + 1
    if unit == WORDS:
        assert report["train"]["documents"] == len(TEXTS) + 1
    else:
        assert report["dropped"] == {"bytes": LINE_BYTES, "documents": 1, "reasons": {"too_few_words": 1}}


# A process is also charged for what its parent has at the moment of the fork, so a small one must start it.
PEAK = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def peak_bytes(verb: str, recipe: Path) -> int:
    """The most memory that a verb has at a time."""
    command = [sys.executable, "-c", PEAK, sys.executable, "-m", "data", verb, str(recipe)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0
    return kilobytes << 10
