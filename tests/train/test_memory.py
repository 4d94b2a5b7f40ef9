"""The plan's bytes, held against the peaks of real runs."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.journal import read_journal
from tests.conftest import run_module
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.memory import PROCESS_BYTES, memory, sent_bytes
from train.plan import check_fit, plan
from train.recipe import Recipe, read_recipe
from train.run import main

# What fragments and small things add, and what is freed a little earlier than the formula says.
MARGIN = 0.35
SHORT = ("train.steps=2", "train.warmup_steps=1", "train.save_every_steps=2", "train.micro_batches=4")
# Much of weights, and much of activations.
SIZES = {
    "deep": ("model.dim=512", "model.n_layers=4", "model.n_heads=8", "model.n_kv_heads=4", "model.ffn_dim=1536"),
    "broad": ("model.dim=128", "model.n_layers=6", "model.n_heads=8", "model.n_kv_heads=4", "train.micro_batch=64"),
}
CASES = [(1, "zero1"), (2, "zero1"), (2, "fsdp2")]


@pytest.fixture(scope="module")
def peaks(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, str], tuple[int, Recipe]]:
    """Peak bytes of the first rank of every run before its first commit; every run has processes of its own."""
    root = tmp_path_factory.mktemp("memory")
    found = {}
    for size, overrides in {"none": (), **SIZES}.items():
        for ranks, how in CASES:
            out = root / f"{size}-{ranks}-{how}"
            arguments = tiny.arguments(out, f"train.placement={how}", *SHORT, *overrides)
            ended = run_ranks(ranks, main, [arguments], notes=root / "notes")
            assert ended.exit_codes == [0] * ranks, ended.messages
            found[size, ranks, how] = (_peak(out), read_recipe(arguments[0], arguments[1:]))
    return found


def _peak(out: Path) -> int:
    journal = finished_folder(out) / "witness" / "journal-rank0.jsonl"
    lines = [line for line in read_journal(journal) if line["event"] == "step.finished"]
    return int(lines[0]["memory_mb"] * 2**20)


@pytest.mark.parametrize(("ranks", "how"), CASES)
@pytest.mark.parametrize("size", SIZES)
def test_measured_peaks_are_as_planned(
    peaks: dict[tuple[str, int, str], tuple[int, Recipe]], size: str, ranks: int, how: str
) -> None:
    peak, recipe = peaks[size, ranks, how]
    process, _ = peaks["none", ranks, how]
    planned = memory(recipe, ranks=ranks, seq_len=32)
    wanted = planned.total - planned.snapshot
    assert abs(peak - process - wanted) < MARGIN * wanted, f"measured {peak - process}, planned {planned}"
    assert process < 1.25 * PROCESS_BYTES


def test_one_more_micro_batch_in_a_tree_costs_a_partial_sum() -> None:
    whole = 4 * read_recipe("smoke", []).model.parameter_count
    held = [
        memory(read_recipe("smoke", [f"train.micro_batches={count}"]), ranks=1, seq_len=128).partials // whole
        for count in (1, 2, 4, 8, 9)
    ]
    assert held == [0, 1, 2, 3, 3]


def test_activation_checkpointing_would_keep_less() -> None:
    recipe = read_recipe("smoke", ["model.n_layers=12"])
    plain, recomputed = (
        memory(recipe, ranks=1, seq_len=128, is_recomputed=choice).activations for choice in (False, True)
    )
    assert recomputed < plain / 3


def test_what_a_rank_sends_is_nothing_alone_and_hand_computed_for_two() -> None:
    recipe = read_recipe("smoke", [])
    whole = 4 * recipe.model.parameter_count
    assert sent_bytes(recipe, ranks=1) == 0
    # Half of one partial sum of four micro-batches, and the rank's half of the weights.
    assert sent_bytes(recipe, ranks=2) == whole // 2 + whole // 2


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    planned = plan(read_recipe("smoke", []), ranks=2, seq_len=128)
    check_fit(planned, has=planned["bytes_of_all_ranks"])
    with pytest.raises(ConfigError, match=r"2 ranks need .* GB at their peak, and there are 0\.5 GB"):
        check_fit(planned, has=500_000_000)


def test_the_verb_prints_numbers_and_ends_with_64_where_nothing_fits() -> None:
    made = run_module("train", "plan", "smoke", "--json", "--ranks", "2")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["parameters"] == 3_147_456
    assert told["bytes_per_rank"]["weights"] == 4 * told["parameters"]
    refused = run_module("train", "plan", "smoke", "--memory-gb", "0.1")
    assert refused.returncode == 64
    assert "lower train.micro_batch" in refused.stderr
