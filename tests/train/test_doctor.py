"""The doctor tells what a machine can promise, and by its exit code whether that is enough."""

import json
from pathlib import Path

import pytest

from core import profile
from core.errors import ConfigError
from core.gpu import DRIVER
from tests.conftest import run_module
from tests.train.runs import Tiny
from train import doctor
from train.recipe import read_recipe
from train.run import main

SMALL = ("model.dim=64", "model.n_heads=4", "model.vocab_size=512", "model.ffn_dim=128", "train.micro_batch=1")


def test_it_passes_the_portable_profile_and_tells_of_the_others() -> None:
    made = run_module("train", "doctor", "smoke", "--json", "pack.seq_len=32", *SMALL)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert by_check["profile portable"]["verdict"] == "PASS"
    assert by_check["profile native"]["verdict"] == by_check["profile cuda"]["verdict"] == "NOTE"
    assert by_check["optimizer AdamW: slices"]["verdict"] == "PASS"
    assert by_check["all-to-all of floats, 2 processes: one process's values"]["verdict"] == "PASS"
    assert by_check["sum of integers, 2 processes: one process's values"]["verdict"] == "PASS"
    assert by_check["control a sum of squares in fp32: slices"]["told"] == "varies, as it must"
    assert by_check["control torch's fused AdamW: slices"]["told"] == "varies, as it must"
    assert len(told["fingerprint_sha256"]) == 64


def test_a_cpu_feature_that_is_missing_is_input_that_cannot_be_honoured() -> None:
    made = run_module("train", "doctor", "smoke", "--json", "profile.cpu_features=[avx2,quantum]")
    assert made.returncode == 64
    assert "needs CPU feature quantum, which this machine lacks" in made.stderr


def test_an_environment_that_torch_did_not_find_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    (finding,) = doctor.examine(read_recipe("smoke", SMALL), seq_len=32)
    assert finding.verdict == "FAIL"
    assert "asks for MKL_CBWR=COMPATIBLE, this process has nothing" in finding.told


CANNOT = {
    "without g++": ({"CXX": "no-such-compiler"}, "there is no compiler no-such-compiler; install g++, or set CXX"),
    "with a compiler that fails": ({"CXX": "false"}, "does not tell its version; install g++, or set CXX"),
}


@pytest.mark.parametrize("how", CANNOT)
def test_a_trainer_whose_update_cannot_be_compiled_stops_before_it_starts(tiny: Tiny, tmp_path: Path, how: str) -> None:
    environment, told = CANNOT[how]
    fused = ("profile.is_update_fused=true", "profile.is_bound_to_cpu_model=true")
    made = run_module("train", "run", *tiny.arguments(tmp_path, *fused), env=environment)
    assert made.returncode == 64
    assert told in made.stderr and made.stderr.count("\n") == 1


def test_a_trainer_in_bf16_stops_on_a_cpu_without_it(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "cpu_flags", lambda: ["avx2", "fma", "avx512f"])
    native = ("profile.compute=bf16", "profile.cpu_features=[avx512_bf16]")
    with pytest.raises(ConfigError, match="needs CPU feature avx512_bf16, which this machine lacks"):
        main(tiny.arguments(tmp_path, *native))


@pytest.mark.skipif(DRIVER.exists(), reason="this machine has an NVIDIA driver; the profile may be honoured here")
def test_a_trainer_on_cuda_stops_on_a_machine_without_gpu(tiny: Tiny, tmp_path: Path) -> None:
    cuda = (
        "profile.device=cuda",
        "+profile.environment.CUBLAS_WORKSPACE_CONFIG=:4096:8",
    )
    with pytest.raises(ConfigError, match=r"check gpu\.driver failed, there is no /proc/driver/nvidia/version"):
        main(tiny.arguments(tmp_path, *cuda))


def test_it_knows_an_allocator_by_what_is_mapped() -> None:
    assert doctor.allocator("7f00 r-xp 0 /usr/lib/libtcmalloc_minimal.so.4\n", library=None).verdict == "PASS"


def test_without_one_it_says_how_to_have_it(tmp_path: Path) -> None:
    plain = "7f00 r-xp 0 /usr/lib/libc.so.6\n"
    missing, here = (doctor.allocator(plain, library=library) for library in (None, tmp_path / "tcmalloc.so"))
    assert missing.verdict == here.verdict == "NOTE"
    assert "install it (Debian: libtcmalloc-minimal4)" in missing.told
    assert f"LD_PRELOAD={tmp_path}/tcmalloc.so" in here.told
