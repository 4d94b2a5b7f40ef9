"""Documents leave a published pack, and all that was not theirs stays checkable."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from core.merkle import CHUNK_BYTES
from data.corpus.keys import places_of, read_keys, write_keys
from data.corpus.leaves import leaves_of
from data.corpus.redact import Request, redact
from data.corpus.tombstones import read_tombstones, shard_flaws
from data.loader import Loader, read_record
from data.shards import Sidecar, document_ends, write_shards
from tests.conftest import run_module
from tests.data.corpora import folder_of
from tests.data.test_verify_corpus import capture, failures
from tests.release.forgery import flip_bit

DATE = "2026-11-22"


@pytest.fixture
def pack(published: Path) -> Path:
    return published / "pack"


def sidecars(pack: Path) -> list[Sidecar]:
    return [sidecar for source in read_record(pack)[0]["sources"] for sidecar in source["shards"]]


def key_at(pack: Path, number: int) -> str:
    """The key of a document of the first shard."""
    return read_keys(pack, sidecars(pack)[0])[number]


def take_out(pack: Path, keys: Sequence[str]) -> None:
    redact(pack, [Request(key, "the author asked", DATE) for key in keys])


def test_the_documents_tokens_become_zeros_and_nothing_else_changes(pack: Path) -> None:
    before = {path.name: path.read_bytes() for path in pack.iterdir()}
    sidecar = sidecars(pack)[0]
    start, end = (2 * int(end) for end in document_ends(pack, sidecar)[3:5])
    take_out(pack, [key_at(pack, 4)])
    after = {path.name: path.read_bytes() for path in pack.iterdir()}
    name = f"{sidecar['name']}.bin"
    assert after.keys() - before.keys() == {"tombstones.json"}
    assert {one for one in before if before[one] != after[one]} == {name}
    assert after[name] == before[name][:start] + bytes(end - start) + before[name][end:]
    (stone,) = json.loads(after["tombstones.json"])["documents"]
    assert stone == {
        "key": key_at(pack, 4),
        "source": "alpha",
        "shard": sidecar["name"],
        "document": 4,
        "start_byte": start,
        "end_byte": end,
        "date": DATE,
        "reason": "the author asked",
    }


def test_a_redacted_corpus_verifies_and_says_so(published: Path, pack: Path) -> None:
    take_out(pack, [key_at(pack, 0), key_at(pack, 5)])
    for arguments in ((), ("--sample", 100)):
        lines = capture(published, *arguments)
        (line,) = [line for line in lines if " shards: " in line]
        assert line.startswith("ok ") and line.endswith("; 1 leaves redacted for 2 documents")


def test_a_bit_that_is_flipped_beside_a_redaction_is_found(published: Path, pack: Path) -> None:
    take_out(pack, [key_at(pack, 0)])
    flip_bit(pack / "alpha-00000.bin")
    assert any("is not what its tombstone says" in line for line in failures(published))
    assert any(
        "is not what its tombstone says" in line or "hash" in line for line in failures(published, "--sample", 9)
    )


def test_a_tombstone_over_tokens_that_are_still_there_is_found_and_the_same_command_removes_them(
    published: Path, pack: Path
) -> None:
    path = pack / "alpha-00000.bin"
    take_out(pack, [key_at(pack, 1)])
    first = path.read_bytes()
    take_out(pack, [key_at(pack, 2)])
    # what a run leaves that is killed after the tombstone and before the tokens
    whole, record = path.read_bytes(), (pack / "tombstones.json").read_bytes()
    path.write_bytes(first)
    assert any(f"document {key_at(pack, 2)} has a tombstone, but its tokens are" in one for one in failures(published))
    take_out(pack, [key_at(pack, 2)])
    assert (path.read_bytes(), (pack / "tombstones.json").read_bytes()) == (whole, record)
    assert failures(published) == []


def test_the_leaves_of_before_are_kept_when_a_leaf_is_touched_twice(made_corpus: Path, pack: Path) -> None:
    published_leaf = next(leaves_of(folder_of(made_corpus, "pack") / "alpha-00000.bin"))
    for number in (3, 1):
        take_out(pack, [key_at(pack, number)])
    (leaf,) = json.loads((pack / "tombstones.json").read_bytes())["leaves"]
    assert leaf["sha256_before"] == published_leaf
    assert leaf["sha256_now"] == next(leaves_of(pack / "alpha-00000.bin")) != published_leaf


def test_a_document_over_two_leaves_touches_both_and_the_others_keep_their_hashes(tmp_path: Path) -> None:
    documents = [np.full(CHUNK_BYTES // 4 + 1, 3 + number, dtype=np.uint16) for number in range(6)]
    (sidecar,) = write_shards(tmp_path, "long", documents, vocab_size=512, shard_tokens=1 << 30)
    write_keys(tmp_path, [f"{number:032x}" for number in range(6)], [sidecar])
    (found,) = places_of(tmp_path, [sidecar], {f"{1:032x}"})
    assert (found[1].start_byte, found[1].end_byte) == (CHUNK_BYTES // 2 + 2, CHUNK_BYTES + 4)
    from data.orderfile import describe, write_order

    record = {"bos_id": 1, "eos_id": 2, "vocab_size": 512, "tokenizer_sha256": "0" * 64, "seed": 1, "seq_len": 32}
    described = describe("long", [sidecar], seq_len=32)
    write_order(tmp_path, {**record, "phases": [{"start": 0, "weights": {"long": 1}}], "sources": [described]})
    before = list(leaves_of(tmp_path / "long-00000.bin"))
    take_out(tmp_path, [f"{1:032x}"])
    after = list(leaves_of(tmp_path / "long-00000.bin"))
    assert [number for number, leaf in enumerate(before) if leaf != after[number]] == [0, 1]
    stones = read_tombstones(tmp_path, data_root=read_record(tmp_path)[1])
    assert list(shard_flaws(tmp_path, sidecar, stones)) == []
    flip_bit(tmp_path / "long-00000.bin", at=3 * CHUNK_BYTES)
    (flaw,) = shard_flaws(tmp_path, sidecar, stones)
    assert "does not have the Merkle root of its sidecar, beside what was redacted" in flaw


def test_an_original_that_is_the_same_file_by_hard_link_stays_as_it_was(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "pack", tmp_path / "linked", copy_function=lambda a, b: Path(b).hardlink_to(a))
    before = (published / "pack" / "alpha-00000.bin").read_bytes()
    take_out(tmp_path / "linked", [key_at(published / "pack", 0)])
    assert (published / "pack" / "alpha-00000.bin").read_bytes() == before


def test_nobody_trains_on_a_redacted_pack_by_mistake(pack: Path) -> None:
    Loader.open(pack, micro_batches=2, micro_batch=1)
    take_out(pack, [key_at(pack, 0)])
    ended = run_module("data", "digests", "--pack", pack, "--steps", 1, "--micro-batches", 2, "--micro-batch", 1)
    assert ended.returncode == 66
    assert f"shard alpha-00000 of {pack} is redacted (tombstones.json, 1 documents)" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_file_of_documents_is_read_as_clean_reads_it(pack: Path, tmp_path: Path) -> None:
    listed = tmp_path / "listed.jsonl"
    rows = [{"key": key_at(pack, number), "reason": "asked", "date": DATE} for number in (0, 1)]
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ended = run_module("data", "redact", pack, "--documents", listed)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[1] for line in ended.stdout.splitlines()] == [row["key"] for row in rows]


@pytest.mark.parametrize(
    ("key", "reason", "date", "said"),
    [
        ("xyz", "asked", DATE, "is not 32 lower-case hex digits"),
        ("0" * 32, " ", DATE, "without a reason"),
        ("0" * 32, "asked", "22.11.2026", "is not of the form YYYY-MM-DD"),
    ],
)
def test_a_request_without_key_reason_or_date_is_refused(key: str, reason: str, date: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Request(key, reason, date)


def test_a_document_that_is_not_there_a_damaged_shard_and_a_runs_own_artifact_change_nothing(
    pack: Path, corpus_runs: Path
) -> None:
    before = {path: path.read_bytes() for path in pack.iterdir()}
    with pytest.raises(DataError, match=f"no document {'0' * 32} in the shards"):
        take_out(pack, [key_at(pack, 0), "0" * 32])
    assert {path: path.read_bytes() for path in pack.iterdir()} == before
    flip_bit(pack / "alpha-00000.bin")
    with pytest.raises(DataError, match=r"does not have the Merkle root of its sidecar.*nothing was changed"):
        take_out(pack, [key_at(pack, 0)])
    assert not (pack / "tombstones.json").exists()
    with pytest.raises(ConfigError, match="is the artifact of a run"):
        take_out(folder_of(corpus_runs, "pack"), [key_at(pack, 0)])


def test_tombstones_of_another_pack_are_refused(published: Path, pack: Path) -> None:
    take_out(pack, [key_at(pack, 0)])
    path = pack / "tombstones.json"
    path.write_bytes(path.read_bytes().replace(b'"data_root":"', b'"data_root":"0', 1))
    assert any("is not the wholegrain-tombstones-1 of this pack" in line for line in failures(published))
