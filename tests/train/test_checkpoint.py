"""Checkpoints as files: the same bytes for the same tensors, nothing loaded that its hash does not confirm."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import DataError, RetryError
from core.merkle import chunk_root, named_root
from train.checkpoint import fill_weights, read_moments, save, state_root
from train.store import Checkpoint, Position, begin_generation, list_checkpoints, open_checkpoint, remove, sweep


def tensors() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(1)
    shapes = {"weight": (5, 3), "bias": (5,)}
    weights = {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}
    moments = {f"{kind}.{name}": weights[name] * 2 for kind in ("exp_avg", "exp_avg_sq") for name in shapes}
    return weights | moments


def commit(folder: Path, state: dict[str, Tensor], *, step: int = 4, generation: int | None = None) -> Checkpoint:
    witness = folder / "witness"
    witness.mkdir(exist_ok=True)
    number = begin_generation(witness) if generation is None else generation
    position = Position(step=step, tokens=64, ledger_head="a" * 64, state_root=state_root(state), identity="b" * 64)
    return save(folder / "checkpoints", state, position, witness=witness, generation=number)


def test_the_order_of_tensors_does_not_change_the_files(tmp_path: Path) -> None:
    for name, state in (("one", tensors()), ("other", dict(reversed(tensors().items())))):
        (tmp_path / name).mkdir()
        commit(tmp_path / name, state)
    for name in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        one, other = (tmp_path / run / "checkpoints" / "step-000004" / name for run in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    state = tensors()
    commit(tmp_path, state)
    checkpoint = open_checkpoint(tmp_path / "checkpoints" / "step-000004")
    model = torch.nn.Linear(3, 5)
    fill_weights(model, checkpoint)
    loaded = dict(model.state_dict()) | read_moments(checkpoint)
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {n: t.tolist() for n, t in state.items()}
    assert checkpoint.position.state_root == state_root(loaded)


def test_the_state_root_is_over_names_and_bytes(tmp_path: Path) -> None:
    state = tensors()
    by_hand = named_root({name: chunk_root(memoryview(tensor.numpy().tobytes())) for name, tensor in state.items()})
    assert state_root(state) == by_hand
    state["bias"][0] += 1
    assert state_root(state) != by_hand


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = commit(tmp_path, tensors()).folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is missing or not what manifest.json says"):
        open_checkpoint(path.parent)


def test_a_missing_file_or_manifest_is_refused(tmp_path: Path) -> None:
    folder = commit(tmp_path, tensors()).folder
    (folder / "optimizer.safetensors").unlink()
    with pytest.raises(DataError, match=r"optimizer\.safetensors is missing"):
        open_checkpoint(folder)
    (folder / "manifest.json").write_bytes(b'{"format"')
    with pytest.raises(DataError, match="no readable manifest"):
        open_checkpoint(folder)


def test_a_renamed_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = commit(tmp_path, tensors()).folder
    with pytest.raises(DataError, match="holds step 4; it was renamed"):
        open_checkpoint(folder.rename(folder.with_name("step-000008")))


def test_a_coordinator_gives_the_generation_and_an_older_one_cannot_begin(tmp_path: Path) -> None:
    assert begin_generation(tmp_path, given=7) == 7
    with pytest.raises(RetryError, match="generation 7 of this run has started; this one is 6"):
        begin_generation(tmp_path, given=6)
    assert begin_generation(tmp_path) == 8


def test_a_process_of_an_older_generation_cannot_commit(tmp_path: Path) -> None:
    commit(tmp_path, tensors(), step=4)
    begin_generation(tmp_path / "witness")
    with pytest.raises(RetryError, match="generation 2 of this run has started; this process is of generation 1"):
        commit(tmp_path, tensors(), step=8, generation=1)
    assert list(list_checkpoints(tmp_path / "checkpoints")) == [4]
    assert list(list_checkpoints(commit(tmp_path, tensors(), step=8, generation=2).folder.parent)) == [4, 8]


def test_what_killed_writers_left_is_no_checkpoint_and_is_swept(tmp_path: Path) -> None:
    checkpoints = commit(tmp_path, tensors()).folder.parent
    (checkpoints / ".tmp-000008-1").mkdir()
    (checkpoints / ".tmp-000008-1" / "model.safetensors").write_bytes(b"torn")
    assert list(list_checkpoints(checkpoints)) == [4]
    sweep(checkpoints)
    assert [path.name for path in checkpoints.iterdir()] == ["step-000004"]
    remove(checkpoints / "step-000004")
    assert list(checkpoints.iterdir()) == []


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoint = commit(tmp_path, tensors())
    with pytest.raises(DataError, match="other tensors than the recipe's model"):
        fill_weights(torch.nn.Linear(5, 3), checkpoint)
