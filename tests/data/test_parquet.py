import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import ConfigError, DataError
from data.documents import Document, key_of, read_documents, write_documents
from data.parquet import export_main, import_main

TEXTS = ["plain text", "naïve 道 \U0001f469\u200d\U0001f4bb\nsecond line\ttab", 'quotes " and \\', "\u2028"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards with documents, one without, and a list of dropped ones, as in a clean artifact."""
    folder = tmp_path / "shards"
    for name in ("train", "heldout"):
        (folder / name).mkdir(parents=True)
    documents = [Document(key_of(text), "alpha", text, f"f#{index}") for index, text in enumerate(TEXTS * 50)]
    write_documents(folder / "train" / "alpha-00000.jsonl", documents[:120])
    write_documents(folder / "train" / "alpha-00001.jsonl", documents[120:])
    write_documents(folder / "heldout" / "alpha.jsonl", [])
    (folder / "dropped.jsonl").write_text('{"key":"0"}\n', encoding="utf-8")
    return folder


def shard_bytes(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*.jsonl") if path.name != "dropped.jsonl"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_same_lines_come_back(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_main([str(shards), str(tmp_path / "parquet")])
    import_main([str(tmp_path / "parquet"), str(tmp_path / "back")])
    assert shard_bytes(tmp_path / "back") == shard_bytes(shards)
    assert len(shard_bytes(shards)) == 3
    assert capsys.readouterr().out.split() == [str(tmp_path / "parquet"), str(tmp_path / "back")]


def test_the_files_are_plain_parquet_with_the_four_columns(shards: Path, tmp_path: Path) -> None:
    export_main([str(shards), str(tmp_path / "parquet")])
    rows = pq.read_table(tmp_path / "parquet" / "train" / "alpha-00001.parquet").to_pylist()
    lines = (shards / "train" / "alpha-00001.jsonl").read_bytes().splitlines()
    assert rows == [json.loads(line) for line in lines]
    assert [Document(**row) for row in rows] == list(read_documents(shards / "train" / "alpha-00001.jsonl"))


def write_parquet(folder: Path, columns: dict[str, list[str]]) -> Path:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return folder


def test_rows_that_are_no_documents_are_refused_by_number(tmp_path: Path) -> None:
    good = {"key": [key_of("a"), key_of("b")], "source": ["s"] * 2, "origin": ["o"] * 2, "text": ["a", "b"]}
    import_main([str(write_parquet(tmp_path / "good", good)), str(tmp_path / "out")])
    changed = write_parquet(tmp_path / "changed", {**good, "text": ["a", "c"]})
    with pytest.raises(DataError, match=r"a\.parquet row 2 has key"):
        import_main([str(changed), str(tmp_path / "none")])
    poor = write_parquet(tmp_path / "poor", {"text": ["a"]})
    with pytest.raises(DataError, match="row 1 has no column key"):
        import_main([str(poor), str(tmp_path / "none")])
    (poor / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="not readable Parquet"):
        import_main([str(poor), str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_nothing_is_overwritten_and_an_empty_folder_is_an_error(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists"):
        export_main([str(shards), str(shards)])
    with pytest.raises(DataError, match=r"no \*\.parquet below"):
        import_main([str(shards), str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="usage"):
        export_main([str(shards)])
