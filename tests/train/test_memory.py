"""The plan's bytes, held against what processes of real runs held and sent.

The formulas were set right on other shapes than these (wider ones, one with a vocabulary of 16384, four micro-batches).
Those of fsdp2 and hsdp were corrected once more after they were seen here, for reasons that hold at any shape.
"""

import json
from pathlib import Path

import pytest

from core.profile import cpu_flags
from tests.conftest import run_module
from tests.train.peaks import Case, measure, measure_alone
from tests.train.runs import Tiny
from train.held import Cluster
from train.memory import MARGIN, memory, sides
from train.recipe import read_recipe
from train.traffic import sent

# Of compiled ranks 9 % less was seen to 7 % more.
NATIVE_MARGIN = 0.15
# Of what is sent: headers, losses, roots and norms, and what pads uneven shards.
SENT_MARGIN, SENT_BESIDES = 0.02, 100_000
# 38 MB of weights, and more of activations than of weights in a micro-batch.
DEEP = (
    *("model.dim=320", "model.n_layers=5", "model.n_heads=5", "model.n_kv_heads=5", "model.ffn_dim=1024"),
    *("model.vocab_size=4096", "train.micro_batches=6", "train.micro_batch=2"),
)
BROAD = (
    *("model.dim=96", "model.n_layers=7", "model.n_heads=6", "model.n_kv_heads=3", "model.ffn_dim=512"),
    *("train.micro_batches=3", "train.micro_batch=80"),
)
CASES = {
    "zero1": Case(("train.placement=zero1",), 2),
    "fsdp2": Case(("train.placement=fsdp2",), 2),
}
MORE = {
    # Four processes that wait for each other: slow on few cores.
    "hsdp": Case(("train.placement=hsdp", "train.node_ranks=2"), 4, 2),
    "alone": Case(("train.placement=zero1",), 1),
    "three": Case(("train.placement=zero1",), 3),
    "fast": Case(("train.placement=zero1", "train.sum=fast"), 2),
    "replicated": Case(("train.placement=replicated",), 2),
    "kept": Case(("train.placement=fsdp2", "train.is_resharded=false"), 2),
    "muon": Case(("train.placement=zero1", "train.optimizer=muon"), 2),
    "recomputed": Case(("train.placement=zero1", "train.is_recomputed=true"), 2),
    **{f"deepspeed{stage}": Case((f"train.placement=deepspeed{stage}",), 2) for stage in (1, 2, 3)},
    "offloaded": Case(("train.placement=deepspeed2", "train.is_optimizer_offloaded=true"), 2),
}
SMOKE: tuple[str, list[str]] = ("smoke", [])


def gathered_first(case: Case, shape: tuple[str, ...]) -> int:
    """How often two ranks at stage 3 gather all weights in the first step, which is measured, beyond what is planned.

    DeepSpeed gives weights up at once until it has learned their order, and gathers those again behind the update that
    have fewer than 100,000 elements (stage3_param_persistence_threshold): in the broad shape, all.
    """
    is_learned = "train.placement=deepspeed3" in case.overrides
    return is_learned * (2 if shape is BROAD else 1)


def check(tiny: Tiny, folder: Path, case: Case, shape: tuple[str, ...]) -> None:
    # A rank without work measures nothing.
    work = (*shape, f"train.micro_batches={case.ranks}") if shape is BROAD and case.ranks > 3 else shape
    seen = measure(tiny, folder, case, work)
    ratio = seen.peak / seen.planned.asked
    assert abs(ratio - 1) < MARGIN, f"measured {seen.peak}, planned {seen.planned.asked}: {seen.planned}"
    planned = seen.planned_sent.total + gathered_first(case, shape) * 2 * seen.recipe.model.parameter_count
    assert abs(seen.sent - planned) <= SENT_MARGIN * planned + SENT_BESIDES, f"sent {seen.sent}, planned {planned}"


@pytest.mark.parametrize("name", CASES)
def test_a_rank_holds_and_sends_what_was_planned(tiny: Tiny, tmp_path: Path, name: str) -> None:
    check(tiny, tmp_path, CASES[name], DEEP)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MORE, *CASES])
@pytest.mark.parametrize("shape", [DEEP, BROAD], ids=["deep", "broad"])
def test_other_placements_and_shapes_hold_and_send_what_was_planned(
    tiny: Tiny, tmp_path: Path, name: str, shape: tuple[str, ...]
) -> None:
    check(tiny, tmp_path, {**MORE, **CASES}[name], shape)


def test_one_more_micro_batch_in_a_tree_costs_a_partial_sum() -> None:
    alone = Cluster(ranks=1)
    whole = 4 * read_recipe(*SMOKE).model.parameter_count
    held = [
        memory(read_recipe("smoke", [f"train.micro_batches={count}"]), cluster=alone, seq_len=128).partials // whole
        for count in (1, 2, 4, 8, 9)
    ]
    assert held == [0, 1, 2, 3, 3]


def test_what_is_asked_for_besides_is_planned_for() -> None:
    def planned(*overrides: str, ranks: int = 2) -> int:
        recipe = read_recipe("smoke", ["model.n_layers=12", *overrides])
        return memory(recipe, cluster=Cluster(ranks=ranks, node_ranks=ranks), seq_len=128).total

    assert planned("train.is_recomputed=true") < 0.7 * planned()
    assert planned("train.spikes.is_on=true") > planned()
    assert planned("train.optimizer=muon", "train.micro_batch=1") != planned("train.micro_batch=1")
    assert planned("profile.compute=bf16") < planned()
    bound = ("profile.is_bound_to_cpu_model=true", "profile.compute=bf16")
    assert planned(*bound, "profile.is_compiled=true") < planned(*bound)
    assert planned("train.save=sync") == planned()
    assert planned("train.placement=fsdp2", ranks=8) < planned("train.placement=fsdp2", ranks=2)


def test_only_chunks_that_are_cut_are_copied_unless_the_disk_is_late() -> None:
    recipe = read_recipe(*SMOKE)
    alone, four = (memory(recipe, cluster=Cluster(ranks=ranks, node_ranks=ranks), seq_len=128) for ranks in (1, 4))
    assert alone.snapshot == 0 and alone.late == 12 * recipe.model.parameter_count
    assert 0 < four.snapshot < 4_000_000 and four.late < alone.late / 3


def test_what_a_rank_sends_is_nothing_alone_and_hand_computed_for_two() -> None:
    recipe = read_recipe(*SMOKE)
    whole = 4 * recipe.model.parameter_count
    assert sent(recipe, cluster=Cluster(ranks=1)).total == 0
    # Half of one partial sum of four micro-batches, and the rank's half of the weights.
    assert sent(recipe, cluster=Cluster(ranks=2)).total == whole // 2 + whole // 2


def test_more_ranks_in_a_node_leave_less_to_send_across_nodes() -> None:
    recipe = read_recipe("smoke", ["train.placement=hsdp"])
    whole = 4 * recipe.model.parameter_count
    two, four = (sent(recipe, cluster=Cluster(ranks=2 * inside, node_ranks=inside)) for inside in (2, 4))
    # Two nodes of aligned halves: half of a shard's sum, and half of a shard's weights.
    assert (two.across, four.across) == (whole // 2, whole // 4)
    assert two.inside > two.across


NATIVE = ("profile=native", "pack.seq_len=512", "model.max_seq_len=512", "train.save_every_steps=1")
STEPS = ("train.steps=2", "train.warmup_steps=1")
NATIVE_SHAPES: dict[str, tuple[str, ...]] = {
    # As much of weights, moments and partial sums as of activations.
    "deep": (
        *("model.dim=512", "model.n_layers=6", "model.n_heads=8", "model.n_kv_heads=4", "model.ffn_dim=1536"),
        *("model.vocab_size=8192", "train.micro_batches=3", "train.micro_batch=4"),
    ),
    # Blocks' activations, and attention's shares most of all.
    "wide": (
        *("model.dim=256", "model.n_layers=6", "model.n_heads=8", "model.n_kv_heads=8", "model.ffn_dim=768"),
        *("model.vocab_size=1024", "train.micro_batches=1", "train.micro_batch=8"),
    ),
    # Logits most of all.
    "headed": (
        *("model.dim=256", "model.n_layers=2", "model.n_heads=4", "model.n_kv_heads=4", "model.ffn_dim=768"),
        *("model.vocab_size=32768", "train.micro_batches=1", "train.micro_batch=8"),
    ),
}
# None of them had a part in the formulas.
UNSEEN = (
    *("model.dim=384", "model.n_layers=4", "model.n_heads=6", "model.n_kv_heads=2", "model.ffn_dim=1024"),
    *("model.vocab_size=12288", "train.micro_batches=2", "train.micro_batch=6"),
)
NATIVE_SHAPES |= {"unseen": UNSEEN, "recomputed": (*UNSEEN, "train.is_recomputed=true")}
needs_bf16 = pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="profile native needs a CPU with avx512_bf16")


@pytest.fixture(scope="module")
def long_windows(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpus in windows of 512 tokens, of which blocked attention makes several blocks."""
    out = tmp_path_factory.mktemp("long")
    places = (f"run.out={out}", f"run.inputs={tiny.inputs}")
    made = run_module("data", "pack", tiny.recipe, *places, "pack.seq_len=512")
    assert made.returncode == 0, made.stderr
    return out


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE_SHAPES)
def test_a_compiled_rank_of_profile_native_holds_what_was_planned(
    long_windows: Path, tmp_path: Path, name: str
) -> None:
    overrides = (*NATIVE, *NATIVE_SHAPES[name])
    peak = measure_alone(
        ["smoke", f"run.inputs={long_windows}", *overrides, *STEPS], folder=tmp_path, is_returning=True
    )
    planned = memory(read_recipe("smoke", overrides), cluster=Cluster(ranks=1), seq_len=512)
    assert abs(peak / planned.asked - 1) < NATIVE_MARGIN, f"measured {peak}, planned {planned.asked}: {planned}"


def check_total(arguments: list[str], folder: Path, *, ranks: int) -> None:
    """A real run, with the heap as it is, has no more than the plan prints, and that is not the double of it."""
    peak = measure_alone([*arguments, *STEPS], folder=folder, is_returning=False, ranks=ranks)
    told = run_module("train", "plan", *arguments, "--json", f"--ranks={ranks}")
    assert told.returncode == 0, told.stderr
    planned = json.loads(told.stdout)["bytes_per_rank"]
    assert planned["total"] / 2 < peak <= planned["total"] + planned["process"], f"measured {peak}, planned {planned}"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("shape", [DEEP, BROAD], ids=["deep", "broad"])
def test_a_real_process_has_no_more_than_the_plan_prints(
    tiny: Tiny, tmp_path: Path, shape: tuple[str, ...], ranks: int
) -> None:
    recipe, *places = tiny.arguments(tmp_path, *shape, "train.save_every_steps=1")
    check_total([recipe, *places], tmp_path, ranks=ranks)


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE_SHAPES)
def test_a_real_compiled_process_has_no_more_than_the_plan_prints(
    long_windows: Path, tmp_path: Path, name: str
) -> None:
    arguments = ["smoke", f"run.inputs={long_windows}", *NATIVE, *NATIVE_SHAPES[name]]
    check_total(arguments, tmp_path, ranks=1)


def test_on_gpus_what_is_offloaded_and_what_a_checkpoint_copies_is_the_hosts() -> None:
    cluster, cuda = Cluster(ranks=4, node_ranks=4), ("profile=cuda", "train.placement=deepspeed2")
    kept, offloaded = (
        sides(read_recipe("smoke", [*cuda, *more]), cluster=cluster, seq_len=128)
        for more in ((), ("train.is_optimizer_offloaded=true",))
    )
    slice_ = 4 * 3_147_456 // 4
    assert kept.gpu and offloaded.gpu
    assert (kept.host.optimizer, kept.host.weights, kept.gpu.snapshot) == (0, 0, 0)
    # Weights and two moments of this rank's chunks.
    assert abs(kept.host.snapshot / (3 * slice_) - 1) < 0.5
    assert (offloaded.gpu.optimizer, offloaded.host.optimizer) == (0, 2 * slice_)
    # The partition in fp32; the places for its gradient and for updated weights are the host's alone.
    assert kept.gpu.weights - offloaded.gpu.weights == slice_
    assert offloaded.host.weights == 3 * slice_
    assert offloaded.gpu.least < kept.gpu.least and offloaded.host.least > kept.host.least
    # Without GPUs nothing is split.
    on_cpu = sides(read_recipe("smoke", [cuda[1]]), cluster=cluster, seq_len=128)
    assert on_cpu.gpu is None and on_cpu.host.optimizer == 2 * slice_
