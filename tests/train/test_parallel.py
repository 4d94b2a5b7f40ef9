"""The promise: placement never changes a result. Real ranks, both placements, sums that do and do not fill a tree."""

from itertools import product
from pathlib import Path

import pytest
import torch

from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, result_of
from train.fsdp2 import interleaved, row_span
from train.placed import MicroStep, Span
from train.run import main

WORLD_SIZES = (1, 2, 3, 4)
PLACEMENTS = {
    "replicated": (),
    "zero1": (),
    "fsdp2": (),
    "fsdp2 kept": ("train.is_resharded=false",),
    "hsdp": (),
    "hsdp 1": ("train.node_ranks=1",),
    "hsdp 2": ("train.node_ranks=2",),
}
SHARDED = ("zero1", "fsdp2")
# Everything that may enter a step at once, with a number of micro-batches that fills no tree.
RICH = (
    *("train.micro_batches=5", "train.optimizer=muon", "train.schedule=wsd", "train.decay_steps=2"),
    *("train.z_loss=1e-3", "train.is_embedding_decayed=false"),
    *("model.is_qk_normed=true", "model.logit_softcap=15", "model.base_dim=16"),
)
VARIANTS = {"eight": ("train.micro_batches=8",), "eleven": ("train.micro_batches=11",), "rich": RICH}
SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2")

Key = tuple[int, str, str]


@pytest.fixture(scope="module")
def results(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Result]:
    """Final state of the same run at every world size and placement."""
    root = tmp_path_factory.mktemp("placements")
    found: dict[Key, Result] = {}
    for world_size in WORLD_SIZES:
        keys = [(world_size, *rest) for rest in product(PLACEMENTS, VARIANTS)]
        runs = [tiny.arguments(_out(root, key), *placed(key[1]), *VARIANTS[key[2]], *SHORT) for key in keys]
        ended = run_ranks(world_size, main, runs, notes=root / f"notes-{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
        found |= {key: result_of(_out(root, key)) for key in keys}
    return found


def placed(name: str) -> tuple[str, ...]:
    """The overrides of a placement."""
    return (f"train.placement={name.split()[0]}", *PLACEMENTS[name])


def _out(root: Path, key: Key) -> Path:
    return root / "-".join(map(str, key)).replace(" ", "-")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_world_size_and_placement_gives_the_same_artifact(results: dict[Key, Result], variant: str) -> None:
    ours = {key: result for key, result in results.items() if key[2] == variant}
    assert len(ours) == len(WORLD_SIZES) * len(PLACEMENTS)
    assert len(set(ours.values())) == 1, ours


def test_another_number_of_micro_batches_is_another_result(results: dict[Key, Result]) -> None:
    assert results[1, "zero1", "eight"].weights != results[1, "zero1", "eleven"].weights


def test_plain_all_reduce_changes_with_the_world_size(results: dict[Key, Result], tiny: Tiny, tmp_path: Path) -> None:
    fast: dict[tuple[int, str], Result] = {}
    for world_size in (1, 3):
        runs = {
            how: tiny.arguments(
                tmp_path / f"{world_size}-{how}",
                f"train.placement={how}",
                "train.sum=fast",
                "train.micro_batches=11",
                *SHORT,
            )
            for how in SHARDED
        }
        ended = run_ranks(world_size, main, list(runs.values()), notes=tmp_path / "notes")
        assert ended.exit_codes == [0] * world_size, ended.messages
        fast |= {(world_size, how): result_of(tmp_path / f"{world_size}-{how}") for how in SHARDED}
    canonical = results[1, "zero1", "eleven"].weights
    assert canonical not in {result.weights for result in fast.values()}
    assert fast[1, "zero1"].weights != fast[3, "zero1"].weights
    assert fast[1, "fsdp2"].weights != fast[3, "fsdp2"].weights


def test_another_seed_is_another_result(results: dict[Key, Result], tiny: Tiny, tmp_path: Path) -> None:
    ended = run_ranks(1, main, [tiny.arguments(tmp_path / "out", "train.seed=2", *SHORT)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert result_of(tmp_path / "out").weights != results[1, "zero1", "eight"].weights


@pytest.mark.parametrize("how", SHARDED)
def test_ranks_without_work_idle_and_change_nothing(tiny: Tiny, tmp_path: Path, how: str) -> None:
    for world_size in (1, 3):
        out = tmp_path / f"{how}-{world_size}"
        runs = [tiny.arguments(out, f"train.placement={how}", "train.micro_batches=2", *SHORT)]
        ended = run_ranks(world_size, main, runs, notes=tmp_path / f"notes-{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
    assert result_of(tmp_path / f"{how}-1") == result_of(tmp_path / f"{how}-3")
    said = "".join(path.read_text() for path in (tmp_path / "notes-3").glob("*.log"))
    assert said.count("warning: 3 ranks were started and 1 rank is idle") == 1


def test_rows_are_cut_as_torch_cuts_them() -> None:
    for rows, world_size in product(range(1, 9), range(1, 6)):
        weight = torch.arange(rows * 3).view(rows, 3)
        chunks = [chunk.reshape(-1).tolist() for chunk in torch.chunk(weight, world_size)]
        spans = [row_span("w", weight.shape, rank=rank, world_size=world_size) for rank in range(world_size)]
        cut = [weight.reshape(-1)[span.start : span.stop].tolist() for span in spans]
        assert [part for part in cut if part] == chunks
    assert row_span("w", torch.Size([2, 3]), rank=3, world_size=4) == Span("w", 6, 6)


def test_ranks_beyond_the_last_micro_batch_compute_a_dummy() -> None:
    assert interleaved(range(5), rank=1, world_size=3) == [MicroStep(0, 1), MicroStep(1, 4)]
    assert interleaved(range(5), rank=2, world_size=3) == [MicroStep(0, 2), MicroStep(1, 4, is_dummy=True)]
    assert interleaved(range(6, 8), rank=2, world_size=3) == [MicroStep(0, 7, is_dummy=True)]
