from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DataError
from data.documents import Document, key_of, read_documents, write_documents

TEXTS = [
    "plain",
    "naïve 道 \U0001f469\u200d\U0001f4bb",
    'quotes " and \\ and\nnew lines\tand tabs',
    "\u0000 nul \u2028 line",
]


def test_documents_come_back_as_they_were_written(tmp_path: Path) -> None:
    documents = [Document(key_of(text), "alpha", text, f"file.txt#{text[:3]}") for text in TEXTS]
    write_documents(tmp_path / "a.jsonl", documents)
    assert list(read_documents(tmp_path / "a.jsonl")) == documents
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == len(TEXTS)


def test_the_line_is_canonical_json(tmp_path: Path) -> None:
    key = "2cf24dba5fb0a30e26e83b2ac5b9e29e"
    assert key_of("hello") == key
    write_documents(tmp_path / "a.jsonl", [Document(key, "alpha", "hello", "f#1")])
    expected = f'{{"key":"{key}","origin":"f#1","source":"alpha","text":"hello"}}\n'
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"hello", b"hallo"),
        lambda line: line[:-9],
        lambda line: line.replace(b'"origin"', b'"place"'),
        lambda line: line.replace(b'"f#1"', b"17"),
    ],
)
def test_a_changed_line_is_refused_by_its_number(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path, [Document(key_of(text), "alpha", text, "f#1") for text in ("first", "hello")])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage(second))
    with pytest.raises(DataError, match=r"a\.jsonl line 2"):
        list(read_documents(path))


def test_a_missing_shard_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(read_documents(tmp_path / "none.jsonl"))
