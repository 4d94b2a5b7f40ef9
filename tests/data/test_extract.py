import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from core.errors import ConfigError, DataError
from data.reading.archive import read_members
from data.reading.extract import Format, OnError, Raw, ReadConfig, Split, raw_documents
from tests.data.index import make_sdist, make_wheel

LINES = "".join(json.dumps({"text": f"text {number} é" * 40, "n": number}) + "\n" for number in range(2000)).encode()
PLAY = "THE PLAY\n\nACT I\n\nSCENE I. Here.\n\nAnn.\nHello.\n\nBob.\nGood day.\n\n\nSCENE II\n\nAnn.\nStill here.\n"


def texts(content: bytes, name: str, read: ReadConfig | None = None) -> list[Raw]:
    return list(raw_documents(io.BytesIO(content), name=name, read=read or ReadConfig()))


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".zst", zstd),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
]


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), *PACKED])
def test_every_compression_gives_the_same_documents(ending: str, pack: Callable[[bytes], bytes]) -> None:
    found = texts(pack(LINES), f"a.jsonl{ending}")
    assert [raw.text for raw in found] == [json.loads(line)["text"] for line in LINES.splitlines()]
    assert {raw.origin for raw in found} == {"a.jsonl"}


def test_frames_in_a_row_are_read_to_the_end() -> None:
    half = len(LINES.splitlines()) // 2
    first, second = (b"".join(LINES.splitlines(keepends=True)[cut]) for cut in (slice(half), slice(half, None)))
    assert texts(zstd(first) + zstd(second), "a.jsonl.zst") == texts(LINES, "a.jsonl")
    for ending, pack in PACKED:
        assert texts(pack(first) + pack(second), f"a.jsonl{ending}") == texts(LINES, "a.jsonl")


@pytest.mark.parametrize(("ending", "pack"), PACKED)
@pytest.mark.parametrize("kept", [0, 5, 0.5, -1])
def test_a_truncated_file_is_an_error_wherever_it_ends(
    ending: str, pack: Callable[[bytes], bytes], kept: float
) -> None:
    packed = pack(LINES)
    cut = packed[: int(len(packed) * kept) if 0 < kept < 1 else int(kept)]
    for on_error in OnError:
        with pytest.raises(DataError, match=rf"a\.jsonl{ending} is damaged"):
            texts(cut, f"a.jsonl{ending}", ReadConfig(on_error=on_error))


@pytest.mark.parametrize(
    ("ending", "pack"),
    [*PACKED[:1], *PACKED[2:], (".zst", zstandard.ZstdCompressor(write_checksum=True).compress)],
)
def test_a_flipped_bit_in_a_compressed_file_is_an_error(ending: str, pack: Callable[[bytes], bytes]) -> None:
    packed = bytearray(pack(LINES))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(DataError, match=r"damaged|unreadable"):
        texts(bytes(packed), f"a.jsonl{ending}")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'{"text": "a\xff"}', "unreadable_utf8"),
        (b'{"text": "a"', "unreadable_json"),
        (b'{"txt": "a"}', "no_text_field"),
        (b'{"text": 7}', "no_text_field"),
        (b'["text"]', "no_text_field"),
    ],
)
def test_a_bad_record_stops_with_file_and_line_or_is_counted(bad: bytes, problem: str) -> None:
    content = b'{"text": "one"}\n\n' + bad + b'\n{"text": "two"}\n'
    with pytest.raises(DataError, match=rf"a\.jsonl line 3 is unreadable \({problem}\)"):
        texts(content, "a.jsonl")
    found = texts(content, "a.jsonl", ReadConfig(on_error=OnError.DROP))
    assert [raw.problem for raw in found] == ["", problem, ""]
    assert [raw.text for raw in found if not raw.problem] == ["one", "two"]


def test_json_may_be_a_list_an_object_of_records_or_one_record() -> None:
    records = [{"text": "one"}, {"text": "two"}]
    assert texts(json.dumps(records, indent=1).encode(), "a.json") == [Raw("one", "a.json"), Raw("two", "a.json")]
    named = json.dumps({"First": records[0], "Second": records[1]}).encode()
    assert texts(named, "a.json") == [Raw("one", "a.json#First"), Raw("two", "a.json#Second")]
    assert texts(b'{"text": "one"}', "a.json") == [Raw("one", "a.json")]
    extract = ReadConfig(text_field="extract")
    assert texts(b'{"A": {"title": "A", "extract": "body"}}', "a.json", extract) == [Raw("body", "a.json#A")]
    with pytest.raises(DataError, match=r"a\.json line 2"):
        texts(b'[{"text":\n "one}]', "a.json")


def test_paragraphs_are_runs_of_lines_and_a_byte_order_mark_is_left_out() -> None:
    content = b"\xef\xbb\xbfone\r\nstill one\r\n \t\r\n\r\ntwo"
    assert [raw.text for raw in texts(content, "a.txt")] == ["one\nstill one", "two"]
    whole = texts(content, "a.txt", ReadConfig(split=Split.WHOLE))
    assert [raw.text for raw in whole] == ["one\nstill one\n \t\n\ntwo"]


def test_sections_begin_at_headings_and_headings_in_a_row_stay_together() -> None:
    read = ReadConfig(split=Split.SECTIONS, heading=r"ACT|SCENE")
    assert texts(PLAY.encode(), "play.txt", read) == [
        Raw("THE PLAY", "play.txt#0001"),
        Raw("ACT I\n\nSCENE I. Here.\n\nAnn.\nHello.\n\nBob.\nGood day.", "play.txt#0002"),
        Raw("SCENE II\n\nAnn.\nStill here.", "play.txt#0003"),
    ]


@pytest.mark.parametrize("section_chars", [1, 20, 40, 10_000])
def test_sections_close_before_their_size_and_lose_nothing(section_chars: int) -> None:
    read = ReadConfig(split=Split.SECTIONS, section_chars=section_chars)
    found = [raw.text for raw in texts(PLAY.encode(), "play.txt", read)]
    paragraphs = [raw.text for raw in texts(PLAY.encode(), "play.txt")]
    assert "\n\n".join(found).split("\n\n") == paragraphs
    assert all(len(text) <= section_chars or text in paragraphs for text in found)


def test_bad_bytes_in_a_text_name_their_line_or_drop_only_their_paragraph() -> None:
    content = b"one\n\ntwo\nt\xffwo\n\nthree\n"
    with pytest.raises(DataError, match=r"a\.txt line 4 is unreadable"):
        texts(content, "a.txt")
    found = texts(content, "a.txt", ReadConfig(on_error=OnError.DROP))
    assert [raw.problem for raw in found] == ["", "unreadable_utf8", ""]


def test_an_unknown_ending_needs_a_format() -> None:
    with pytest.raises(DataError, match=r"set read\.format"):
        texts(b"one", "a.md")
    assert texts(b"one", "a.md", ReadConfig(format=Format.TXT)) == [Raw("one", "a.md")]
    with pytest.raises(ConfigError, match=r"read\.heading"):
        ReadConfig(heading="(")


@pytest.mark.parametrize(("name", "make"), [("a.tar.gz", make_sdist), ("a.whl", make_wheel)])
class TestArchives:
    def test_members_come_by_glob_in_the_order_of_names(
        self, tmp_path: Path, name: str, make: Callable[[dict[str, str]], bytes]
    ) -> None:
        path = tmp_path / name
        path.write_bytes(make({"p/b.txt": "two", "p/a.txt": "one", "p/setup.py": "raise SystemExit"}))
        assert list(read_members(path, ["*/*.txt"])) == [("p/a.txt", b"one"), ("p/b.txt", b"two")]
        with pytest.raises(DataError, match=r"no member that matches '\*\.md'"):
            list(read_members(path, ["*.txt", "*.md"]))

    def test_a_damaged_archive_is_bad_data(
        self, tmp_path: Path, name: str, make: Callable[[dict[str, str]], bytes]
    ) -> None:
        path = tmp_path / name
        whole = make({"p/a.txt": "".join(map(str, range(5000)))})
        for damaged in (whole[: len(whole) // 2], whole[:200] + b"\0\0\0\0" + whole[204:], b"no archive"):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match="damaged archive"):
                list(read_members(path, ["*.txt"]))
