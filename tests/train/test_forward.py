"""Narrow products, blocks computed again, the fused update: each keeps the promise. Real ranks."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch._inductor import config as inductor
from torch._inductor.codegen.triton import TritonKernel
from torch._inductor.runtime.benchmarking import may_ban_benchmarking

from core.profile import Device
from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, result_of
from train.forward import GPU_OPTIONS, new_model, run_as_asked
from train.recipe import read_recipe
from train.run import main

PLACEMENTS = ("zero1", "fsdp2")
BOUND = ("profile.is_bound_to_cpu_model=true", "profile.attention=sdpa")
PROFILES = {
    "fp32": BOUND,
    "bf16": (*BOUND, "profile.compute=bf16"),
    "narrow": (*BOUND, "profile.compute=bf16", "profile.is_stream_narrow=true"),
    "fused": (*BOUND, "profile.compute=bf16", "profile.is_update_fused=true"),
}
WORLD_SIZES = (1, 2, 3)
SHORT = ("train.steps=2", "train.warmup_steps=1", "train.save_every_steps=2", "train.micro_batches=5")

Key = tuple[int, str, str, bool]


def run_all(tiny: Tiny, root: Path, runs: dict[Key, tuple[str, ...]]) -> dict[Key, Result]:
    """The results of runs on as many ranks as their keys say."""
    for world_size in sorted({key[0] for key in runs}):
        arguments = [
            tiny.arguments(
                root / "-".join(map(str, key)),
                *profile,
                *SHORT,
                f"train.placement={key[1]}",
                f"train.is_recomputed={str(key[3]).lower()}",
            )
            for key, profile in runs.items()
            if key[0] == world_size
        ]
        ended = run_ranks(world_size, main, arguments, notes=root / f"notes-{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
    return {key: result_of(root / "-".join(map(str, key))) for key in runs}


@pytest.fixture(scope="module")
def results(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Result]:
    """The same run under every profile, at every placement, with blocks kept and computed again."""
    keys = product(WORLD_SIZES, PLACEMENTS, PROFILES, (False, True))
    return run_all(tiny, tmp_path_factory.mktemp("profiles"), {key: PROFILES[key[2]] for key in keys})


@pytest.mark.parametrize("profile", PROFILES)
def test_neither_placement_nor_recomputing_changes_a_bit(results: dict[Key, Result], profile: str) -> None:
    ours = {key: result for key, result in results.items() if key[2] == profile}
    assert len(ours) == len(WORLD_SIZES) * len(PLACEMENTS) * 2
    assert len(set(ours.values())) == 1, ours


def test_every_profile_has_its_own_bits(results: dict[Key, Result]) -> None:
    assert len({results[1, "zero1", profile, False].weights for profile in PROFILES}) == len(PROFILES)


def test_on_a_gpu_inductor_times_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def note(function: object, **how: object) -> object:
        asked.append(how["options"])
        return function

    monkeypatch.setattr(torch, "compile", note)
    monkeypatch.setattr("train.forward.keep_compiled", lambda *_, **__: None)
    monkeypatch.setattr("train.forward.kept_folder", lambda profile: None)
    recipe = read_recipe("smoke", ["profile.is_compiled=true", "profile.is_bound_to_cpu_model=true"])
    run_as_asked(new_model(recipe), recipe)
    cuda = replace(recipe.profile, device=Device.CUDA, environment={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"})
    run_as_asked(new_model(recipe), replace(recipe, profile=cuda))
    # A CPU's options, and with them what is generated there, are as they were before there were a GPU's.
    assert asked[0] == {"max_autotune": False, "max_autotune_gemm": False, "coordinate_descent_tuning": False}
    assert asked[-1] == GPU_OPTIONS
    # Without Triton here, what its kernels would be told.
    monkeypatch.setattr("torch.utils._triton.triton_hash_with_backend", lambda: "none")
    with inductor.patch(GPU_OPTIONS):
        told = TritonKernel.inductor_meta_common()  # type: ignore[no-untyped-call]
        with pytest.raises(RuntimeError, match="deterministic mode"):
            may_ban_benchmarking()
    assert told["deterministic"] and not told["autotune_pointwise"] and not told["max_autotune_pointwise"]
    # The control: by default they would be timed.
    plain = TritonKernel.inductor_meta_common()  # type: ignore[no-untyped-call]
    assert plain["autotune_pointwise"] and not plain["deterministic"]
    may_ban_benchmarking()
