"""The doctor tells what a machine can promise, and by its exit code whether that is enough."""

import json

import pytest

from tests.conftest import run_module
from train import doctor
from train.recipe import read_recipe

SMALL = ("model.dim=64", "model.n_heads=4", "model.vocab_size=512", "model.ffn_dim=128", "train.micro_batch=1")


def test_it_passes_the_portable_profile_and_tells_of_the_others() -> None:
    made = run_module("train", "doctor", "smoke", "--json", "pack.seq_len=32", *SMALL)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert by_check["profile portable"]["verdict"] == "PASS"
    assert by_check["profile native"]["verdict"] == "NOTE"
    assert by_check["optimizer AdamW: slices"]["verdict"] == "PASS"
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


def test_it_knows_an_allocator_by_what_is_mapped() -> None:
    assert doctor.allocator("7f00 r-xp 0 /usr/lib/libtcmalloc_minimal.so.4\n").verdict == "PASS"
    assert doctor.allocator("7f00 r-xp 0 /usr/lib/libc.so.6\n").verdict == "NOTE"
