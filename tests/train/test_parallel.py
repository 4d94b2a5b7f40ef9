"""The promise: placement never changes a result. Real ranks, trees that are filled and not, ranks without work."""

from itertools import product
from pathlib import Path

import pytest
import torch

from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, events, finished_folder, result_of
from train.fsdp2 import interleaved, row_span
from train.placed import MicroStep, Span, cut
from train.run import main

WORLD_SIZES = (1, 2, 3, 4)
PLACEMENTS = {
    "replicated": (),
    "zero1": (),
    "fsdp2": (),
    "fsdp2 kept": ("train.is_resharded=false",),
    "hsdp 1": ("train.node_ranks=1",),
    "hsdp 2": ("train.node_ranks=2",),
}
# Everything that may enter a step at once, with a number of micro-batches that fills no tree.
RICH = (
    *("train.micro_batches=5", "train.optimizer=muon", "train.schedule=wsd", "train.decay_steps=2"),
    *("train.z_loss=1e-3", "train.is_embedding_decayed=false"),
    *("model.is_qk_normed=true", "model.logit_softcap=15", "model.base_dim=16"),
)
VARIANTS = {"eight": ("train.micro_batches=8",), "eleven": ("train.micro_batches=11",), "rich": RICH}
SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2")

Key = tuple[int, str, str]
# Every placement with everything at once; what is most used with whole and unfilled trees too.
CASES: list[tuple[str, str]] = [
    *product(PLACEMENTS, ["rich"]),
    *product(["zero1", "fsdp2"], ["eight", "eleven"]),
    ("hsdp 2", "eleven"),
]


@pytest.fixture(scope="module")
def results(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Result]:
    """Final state of the same run at every world size and placement."""
    root = tmp_path_factory.mktemp("placements")
    found: dict[Key, Result] = {}
    for world_size in WORLD_SIZES:
        keys = [(world_size, *case) for case in CASES]
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
    assert len(ours) == len(WORLD_SIZES) * sum(case[1] == variant for case in CASES)
    assert len(set(ours.values())) == 1, ours


def test_another_number_of_micro_batches_is_another_result(results: dict[Key, Result]) -> None:
    assert results[1, "zero1", "eight"].weights != results[1, "zero1", "eleven"].weights


def test_plain_all_reduce_changes_with_the_world_size(results: dict[Key, Result], tiny: Tiny, tmp_path: Path) -> None:
    fast: dict[tuple[int, str], Result] = {}
    names = ("replicated", "zero1", "fsdp2", "hsdp 1")
    for world_size in (1, 3):
        runs = {
            how: tiny.arguments(
                _out(tmp_path, (world_size, how, "fast")),
                *placed(how),
                "train.sum=fast",
                "train.micro_batches=11",
                *SHORT,
            )
            for how in names
        }
        ended = run_ranks(world_size, main, list(runs.values()), notes=tmp_path / "notes")
        assert ended.exit_codes == [0] * world_size, ended.messages
        fast |= {(world_size, how): result_of(_out(tmp_path, (world_size, how, "fast"))) for how in names}
    canonical = results[1, "zero1", "eleven"].weights
    assert canonical not in {result.weights for result in fast.values()}
    assert all(fast[1, how].weights != fast[3, how].weights for how in names)


def test_another_seed_is_another_result(results: dict[Key, Result], tiny: Tiny, tmp_path: Path) -> None:
    ended = run_ranks(1, main, [tiny.arguments(tmp_path / "out", "train.seed=2", *SHORT)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert result_of(tmp_path / "out").weights != results[1, "zero1", "eight"].weights


@pytest.mark.parametrize(("name", "working"), [("zero1", 2), ("fsdp2", 2), ("hsdp 1", 2)])
def test_ranks_without_work_are_idle_and_said_to_be(tiny: Tiny, tmp_path: Path, name: str, working: int) -> None:
    few = ("train.micro_batches=2", *SHORT)
    alone = run_ranks(1, main, [tiny.arguments(tmp_path / "alone", *few)], notes=tmp_path / "notes")
    many = run_ranks(4, main, [tiny.arguments(tmp_path / "many", *placed(name), *few)], notes=tmp_path / "notes")
    assert alone.exit_codes + many.exit_codes == [0] * 5, many.messages
    assert result_of(tmp_path / "many") == result_of(tmp_path / "alone")
    (started,) = events(finished_folder(tmp_path / "many"), "run.started")
    assert started["world_size"] == working
    said = [(tmp_path / "notes" / f"rank{rank}.log").read_text() for rank in range(4)]
    assert ["ranks are idle" in words for words in said] == [False, False, False, True]
    assert "warning: 4 ranks were started and 2 ranks are idle: a step has work for 2" in said[3]


def test_ranks_that_make_no_whole_node_are_idle(tiny: Tiny, tmp_path: Path) -> None:
    arguments = tiny.arguments(tmp_path / "out", *placed("hsdp 2"), *SHORT)
    ended = run_ranks(3, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * 3, ended.messages
    (started,) = events(finished_folder(tmp_path / "out"), "run.started")
    assert started["world_size"] == 2


def test_a_setting_that_a_placement_has_no_use_for_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    for setting in ("train.node_ranks=2", "train.is_resharded=false", "train.is_optimizer_offloaded=true"):
        ended = run_ranks(1, main, [tiny.arguments(tmp_path / "out", setting)], notes=tmp_path / "notes")
        assert ended.exit_codes == [64]
        assert setting.partition("=")[0] in ended.messages[0] and "zero1" in ended.messages[0]


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


def test_a_range_of_consecutive_spans_is_cut() -> None:
    spans = [Span("a", 0, 4), Span("b", 8, 10), Span("c", 0, 0), Span("d", 1, 5)]
    assert cut(spans, 0, 10) == [Span("a", 0, 4), Span("b", 8, 10), Span("d", 1, 5)]
    assert cut(spans, 3, 7) == [Span("a", 3, 4), Span("b", 8, 10), Span("d", 1, 2)]
    assert cut(spans, 4, 6) == [Span("b", 8, 10)]
    assert cut(spans, 5, 5) == []
