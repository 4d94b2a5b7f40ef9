"""Where a replay parts from the record, down to the micro-batch, the tensor and the chunk."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.journal import read_journal
from core.ledger import Difference
from release.contents import Bundle, open_bundle
from release.pinpoint import CHUNKS, MICRO, pinpoint
from release.weights import chunk_hashes

STEP, END = 6, 8
TENSORS = ("model.safetensors", "optimizer.safetensors")
HEX = "0" * 64


@pytest.fixture
def replayed(released: Path, tmp_path: Path) -> Path:
    """What an honest replay of steps 5 to 8 leaves, made of the run's own journal and checkpoint."""
    journal = read_journal(released / "witness/train/journal-rank0.jsonl")
    lines = {line["step"]: line for line in journal if line["event"] == "step.digested"}
    write_micro(tmp_path, [{name: lines[step][name] for name in ("step", "losses", "roots")} for step in range(5, 9)])
    chunks = chunk_hashes(released / f"checkpoints/step-{END:06d}" / name for name in TENSORS)
    (tmp_path / CHUNKS).write_text(json.dumps(chunks))
    return tmp_path


def write_micro(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / MICRO).write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_micro(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MICRO).read_bytes().splitlines()]


def told(released: Path, replayed: Path, field: str = "loss", end: int = END) -> str:
    return "; ".join(pinpoint(open_bundle(released), Difference(STEP, field, "a", "b"), replayed, end=end))


def test_the_micro_batch_whose_gradient_differs_is_named(released: Path, replayed: Path) -> None:
    lines = read_micro(replayed)
    recorded, lines[1]["roots"][3] = lines[1]["roots"][3], HEX
    write_micro(replayed, lines)
    wanted = f"first in the gradient of micro-batch 3: {recorded} recorded, {HEX} replayed"
    assert wanted in told(released, replayed, "grads")


def test_a_loss_is_named_before_a_gradient(released: Path, replayed: Path) -> None:
    lines = read_micro(replayed)
    lines[1]["roots"][0], lines[1]["losses"][5] = HEX, (9.0).hex()
    write_micro(replayed, lines)
    assert "first in the loss of micro-batch 5" in told(released, replayed)


def test_where_all_micro_batches_agree_the_record_itself_is_false(released: Path, replayed: Path) -> None:
    said = told(released, replayed, "norm")
    assert "every micro-batch's loss and gradient are the recorded ones" in said
    assert "so only the record of the steps is another" in said


def test_a_journal_that_does_not_give_the_ledgers_root_counts_for_nothing(bundle: Bundle, replayed: Path) -> None:
    path = bundle.witness / "train/journal-rank0.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines:
        if line["event"] == "step.digested" and line["step"] == STEP:
            line["roots"][3] = HEX
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = told(bundle.folder, replayed)
    assert "which of the 8 micro-batches cannot be said: the ledger holds only the root" in said


def test_the_tensor_and_the_chunk_that_differ_are_named(released: Path, replayed: Path) -> None:
    chunks = json.loads((replayed / CHUNKS).read_bytes())
    name = sorted(chunks)[4]
    chunks[name][0] = HEX
    (replayed / CHUNKS).write_text(json.dumps(chunks))
    said = told(released, replayed, "state")
    assert f"1 of {len(chunks)} tensors differ from the checkpoint, first {name} in chunk 0 of 1" in said
    assert "what differs is the optimizer's update or state" in said


def test_without_the_checkpoint_only_its_root_is_known(released: Path, replayed: Path) -> None:
    assert "the checkpoint of step 7 is not in the bundle, so tensors cannot be compared" in told(
        released, replayed, end=7
    )
