"""Compiled runs keep the promise, from cold and from kept code, and no half file is ever kept. Real ranks, real g++."""

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch._functorch import config as partitioning

from core.artifact import current
from core.errors import ConfigError
from core.ledger import read_lines
from core.profile import Attention as Kernel
from core.profile import Compute
from model import attention
from model.transformer import Transformer, next_token_loss
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, finished_folder, result_of
from train import deepspeed_engine
from train.compiled import CACHE, LOCK, OWN, keep_compiled, link_files
from train.forward import compile_parts
from train.held import matrix_parameters
from train.placed import gradient_root
from train.recipe import read_recipe
from train.replay import main as replay
from train.run import main as run

BOUND = ("profile.is_bound_to_cpu_model=true", "profile.compute=bf16", "profile.is_update_fused=true")
COMPILED = (*BOUND, "profile.is_compiled=true")
SHORT = ("train.steps=2", "train.warmup_steps=1", "train.save_every_steps=1", "train.micro_batches=5")
GRID = (
    (1, "fsdp2", "true"),
    (2, "zero1", "false"),
    (2, "replicated", "true"),
    (3, "zero1", "true"),
    (3, "fsdp2", "false"),
    (2, "hsdp train.node_ranks=1", "true"),
    (4, "hsdp train.node_ranks=2", "false"),
)
# The engine's hooks stand outside of what is compiled; stage 3 takes weights away behind each forward and backward.
DEEPSPEED = (
    (2, "deepspeed1", "true"),
    (2, "deepspeed2", "false"),
    (2, "deepspeed2 train.is_optimizer_offloaded=true", "false"),
    (2, "deepspeed3", "true"),
    (3, "deepspeed3", "false"),
)
# Everything is compiled once by g++: half a minute of one core, and several times that where cores are shared.
DEADLINE_S = 900.0
# Two blocks and more of a tiny window's queries.
BLOCK_ROWS = 8


def run_with(arguments: Sequence[str], *, kept: Path, verb: Callable[[Sequence[str]], None] = run) -> None:
    """A verb of a user with a cache folder of their own."""
    os.environ["XDG_CACHE_HOME"] = str(kept)
    verb(arguments)


def run_released(arguments: Sequence[str], *, kept: Path) -> None:
    """Train with no weight that DeepSpeed's stage 3 keeps whole, as it does with small ones: here with all."""

    def without_persistent(**asked: Any) -> dict[str, Any]:
        config = engine_config(**asked)
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return config

    engine_config, deepspeed_engine.engine_config = deepspeed_engine.engine_config, without_persistent
    run_with(arguments, kept=kept)


def train(
    tiny: Tiny,
    out: Path,
    *overrides: str,
    ranks: int,
    kept: Path,
    kill: tuple[int, int] | None = None,
    runner: Callable[..., None] = run_with,
) -> None:
    """Run on ranks; it must end well unless a rank is killed."""
    verb = partial(runner, kept=kept)
    arguments = [tiny.arguments(out, *SHORT, *overrides, "train.timeout_s=600")]
    ended = run_ranks(ranks, verb, arguments, notes=out.with_suffix(".notes"), kill=kill, deadline_s=DEADLINE_S)
    assert kill or ended.exit_codes == [0] * ranks, ended.messages


def libraries(kept: Path) -> set[str]:
    """What was compiled and is kept."""
    return {path.name for path in kept.rglob("*.so") if not path.relative_to(kept).as_posix().count(f"/{OWN}")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache folder, empty at first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cold(tiny: Tiny, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A compiled run of one rank that had to compile everything."""
    out = tmp_path_factory.mktemp("cold") / "run"
    train(tiny, out, *COMPILED, ranks=1, kept=kept)
    return result_of(out)


def test_two_ranks_and_kept_code_give_the_bits_of_one_rank_that_compiled(
    tiny: Tiny, cold: Result, kept: Path, tmp_path: Path
) -> None:
    before = libraries(kept)
    assert len(before) > 10
    train(tiny, tmp_path / "warm", *COMPILED, "train.placement=fsdp2", ranks=2, kept=kept)
    assert result_of(tmp_path / "warm") == cold
    assert libraries(kept) == before
    # The control: without compiling, other bits.
    train(tiny, tmp_path / "plain", *BOUND, ranks=1, kept=kept)
    assert result_of(tmp_path / "plain").weights != cold.weights


@pytest.mark.slow
@pytest.mark.parametrize("grid", [GRID, pytest.param(DEEPSPEED, marks=needs_deepspeed)], ids=["ours", "deepspeed"])
def test_no_placement_number_of_ranks_or_recomputing_changes_a_bit_of_a_compiled_run(
    tiny: Tiny, cold: Result, kept: Path, tmp_path: Path, grid: Sequence[tuple[int, str, str]]
) -> None:
    results = {}
    for number, (ranks, placement, again) in enumerate(grid):
        out = tmp_path / str(number)
        settings = (*f"train.placement={placement}".split(), f"train.is_recomputed={again}")
        train(tiny, out, *COMPILED, *settings, ranks=ranks, kept=kept, runner=run_released)
        results[ranks, placement, again] = result_of(out)
    assert set(results.values()) == {cold}, results


def run_blocked(arguments: Sequence[str], *, kept: Path) -> None:
    """Train with blocks of attention as short as the test's windows ask for."""
    attention.LEAST_ROWS = BLOCK_ROWS
    run_with(arguments, kept=kept)


@pytest.mark.slow
def test_blocked_attention_compiled_gives_the_same_bits_on_any_number_of_ranks(
    tiny: Tiny, kept: Path, tmp_path: Path
) -> None:
    results = {}
    # The last is the control: one block.
    for ranks, placement, verb in (
        *((1, "zero1", run_blocked), (2, "zero1", run_blocked), (3, "fsdp2", run_blocked)),
        (1, "zero1", run_with),
    ):
        out = tmp_path / f"{ranks}-{placement}-{verb.__name__}"
        settings = ("profile.attention=blocked", f"train.placement={placement}")
        arguments = [tiny.arguments(out, *SHORT, *COMPILED, *settings, "train.timeout_s=600")]
        notes = out.with_suffix(".notes")
        ended = run_ranks(ranks, partial(verb, kept=kept), arguments, notes=notes, deadline_s=DEADLINE_S)
        assert ended.exit_codes == [0] * ranks, ended.messages
        results[out.name] = result_of(out).weights
    *blocked, whole = results.values()
    assert len(set(blocked)) == 1 and whole != blocked[0], results


@pytest.mark.slow
def test_a_killed_compiled_run_goes_on_with_the_same_bits(tiny: Tiny, cold: Result, kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    train(tiny, out, *COMPILED, "train.save=sync", ranks=2, kept=kept, kill=(1, 1))
    assert not (out / "train.json").exists()
    train(tiny, out, *COMPILED, "train.placement=fsdp2", ranks=3, kept=kept)
    assert result_of(out) == cold


@pytest.mark.slow
def test_code_compiled_a_second_time_from_nothing_and_a_replay_give_the_same_bits(
    tiny: Tiny, cold: Result, kept: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "again", tmp_path / "lines.jsonl"
    train(tiny, out, *COMPILED, ranks=1, kept=tmp_path / "another-cache")
    assert result_of(out) == cold
    start, pack = finished_folder(out) / "checkpoints" / "step-000001", current(tiny.inputs, "pack").folder
    options = ["--pack", pack, "--start", start, "--until", 2, "--out", report]
    verb = partial(run_with, kept=kept, verb=replay)
    segment = [str(tiny.recipe), *map(str, options), *SHORT, *COMPILED]
    ended = run_ranks(1, verb, [segment], notes=tmp_path / "notes", deadline_s=DEADLINE_S)
    assert ended.exit_codes == [0], ended.messages
    last = read_lines(finished_folder(out) / "ledger.jsonl")[-1]
    assert json.loads(report.read_bytes()) == {name: value for name, value in last.items() if name != "prev"}


def test_what_lies_in_a_dead_process_folder_is_removed_and_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "key"
    left, used = tmp_path / f"{OWN}left", tmp_path / f"{OWN}used"
    for folder in (left, used):
        folder.mkdir()
        (folder / LOCK).touch()
        (folder / "half.so").write_bytes(b"\x7fELF")
    monkeypatch.setenv(CACHE, "")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    model = nn.Linear(1, 1)
    with (used / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep_compiled(model, kept=kept)
    own = Path(os.environ[CACHE])
    assert used.is_dir() and not left.exists() and own.parent == tmp_path
    (own / "whole.so").write_bytes(b"library")
    weights = model.weight.detach()
    model(weights)
    assert not list(kept.iterdir())
    model(weights)
    assert [path.name for path in kept.iterdir()] == ["whole.so"]


def test_a_file_that_is_kept_is_not_written_over(tmp_path: Path) -> None:
    for name in ("new", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.so").write_text(name)
    (tmp_path / "new" / "b.so").write_text("new")
    link_files(tmp_path / "new", tmp_path / "kept")
    assert [(tmp_path / "kept" / name).read_text() for name in ("a.so", "b.so")] == ["kept", "new"]


def test_a_switch_of_inductor_in_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
    with pytest.raises(ConfigError, match="TORCHINDUCTOR_FREEZING"):
        keep_compiled(nn.Linear(1, 1), kept=tmp_path / "key")


def tell_what_is_kept(arguments: Sequence[str]) -> None:
    """Write to a file what a compiled model keeps for its backward, in bytes, and the hash of its gradient."""
    out, is_banned = Path(arguments[0]), arguments[1] == "banned"
    torch.manual_seed(1)
    config = read_recipe("smoke", ["model.n_layers=1"]).model
    model = Transformer(config, Kernel.BLOCKED, compute=Compute.BF16)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    keep_compiled(model, kept=out.parent / "kept")
    compile_parts(model)
    # The control: as torch partitions on its own.
    partitioning.ban_recompute_materialized_backward = is_banned
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens_BT1 = torch.randint(1, config.vocab_size, (2, 33))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = next_token_loss(model, tokens_BT1, 0)
    loss.followed.backward()  # type: ignore[no-untyped-call]
    root = gradient_root({name: cast(torch.Tensor, one.grad) for name, one in model.named_parameters()})
    out.write_text(json.dumps({"bytes": sum(kept.values()), "root": root}))


# Compiles twice.
@pytest.mark.slow
def test_a_compiled_model_keeps_less_for_its_backward_than_torch_would_and_has_the_same_gradient(
    tmp_path: Path,
) -> None:
    told = []
    for word in ("ours", "banned"):
        arguments = [str(tmp_path / word), word]
        ended = run_ranks(1, tell_what_is_kept, [arguments], notes=tmp_path / "notes", deadline_s=DEADLINE_S)
        assert ended.exit_codes == [0], ended.messages
        told.append(json.loads((tmp_path / word).read_bytes()))
    ours, banned = told
    assert ours["root"] == banned["root"]
    # The narrow weights alone.
    assert ours["bytes"] + matrix_parameters(read_recipe("smoke", ["model.n_layers=1"]).model) < banned["bytes"]
