import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import DataError
from data.shards import TokenStream, document_ends, token_type, verify_shard, write_shards


def test_the_bytes_on_disk_are_as_the_format_says(tmp_path: Path) -> None:
    (sidecar,) = write_shards(tmp_path, "alpha", [[1, 5, 2], [1, 700, 8, 2]], vocab_size=1000, shard_tokens=100)
    tokens = bytes.fromhex("010005000200" + "0100bc0208000200")
    ends = bytes.fromhex("0300000000000000" + "0700000000000000")
    assert (tmp_path / "alpha-00000.bin").read_bytes() == tokens
    assert (tmp_path / "alpha-00000.idx").read_bytes() == ends
    assert json.loads((tmp_path / "alpha-00000.json").read_bytes()) == sidecar
    assert sidecar == {
        "format": "wholegrain-shard-1",
        "name": "alpha-00000",
        "source": "alpha",
        "type": "<u2",
        "tokens": 7,
        "documents": 2,
        "bin": {
            "bytes": 14,
            "sha256": hashlib.sha256(tokens).hexdigest(),
            "merkle_root": hashlib.sha256(b"\x00" + tokens).hexdigest(),
        },
        "idx": {"bytes": 16, "sha256": hashlib.sha256(ends).hexdigest()},
    }


def test_ids_take_two_bytes_up_to_a_vocabulary_of_65536_and_four_above(tmp_path: Path) -> None:
    assert (token_type(65_536), token_type(65_537)) == ("<u2", "<u4")
    narrow = write_shards(tmp_path, "narrow", [[65_535]], vocab_size=65_536, shard_tokens=10)
    wide = write_shards(tmp_path, "wide", [[65_536]], vocab_size=65_537, shard_tokens=10)
    assert (tmp_path / "narrow-00000.bin").read_bytes() == b"\xff\xff"
    assert (tmp_path / "wide-00000.bin").read_bytes() == b"\x00\x00\x01\x00"
    assert TokenStream(tmp_path, narrow).read(0, 1).tolist() == [65_535]
    assert TokenStream(tmp_path, wide).read(0, 1).tolist() == [65_536]


def test_shards_end_between_documents_and_stay_under_the_limit_unless_one_document_is_longer(tmp_path: Path) -> None:
    documents = [[1, 2], [1, 9, 2], [1] + [7] * 20 + [2], [1, 2], [1, 2]]
    sidecars = write_shards(tmp_path, "alpha", documents, vocab_size=512, shard_tokens=5)
    assert [sidecar["tokens"] for sidecar in sidecars] == [5, 22, 4]
    assert [document_ends(tmp_path, sidecar).tolist() for sidecar in sidecars] == [[2, 5], [22], [2, 4]]


def test_any_part_of_the_stream_reads_as_if_there_were_one_shard(tmp_path: Path) -> None:
    documents = [list(range(start, start + length)) for start, length in ((0, 3), (3, 1), (4, 6), (10, 2))]
    stream = TokenStream(tmp_path, write_shards(tmp_path, "alpha", documents, vocab_size=512, shard_tokens=3))
    assert len(stream) == 12
    for start in range(12):
        for count in range(1, 13 - start):
            assert stream.read(start, count).tolist() == list(range(start, start + count))
    assert stream.read(0, 1).dtype == np.int64


@pytest.mark.parametrize("suffix", ["bin", "idx", "json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "append", "remove"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, damage: str) -> None:
    (sidecar,) = write_shards(tmp_path, "alpha", [[1, 5, 2], [1, 7, 2]], vocab_size=512, shard_tokens=100)
    verify_shard(tmp_path, sidecar)
    path = tmp_path / f"alpha-00000.{suffix}"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[3] ^= 1
    damaged = {"flip": content, "cut": content[:-1], "append": content + b"1", "remove": content}[damage]
    path.write_bytes(damaged)
    if damage == "remove":
        path.unlink()
    with pytest.raises(DataError, match=f"alpha-00000.{suffix}"):
        verify_shard(tmp_path, sidecar)
