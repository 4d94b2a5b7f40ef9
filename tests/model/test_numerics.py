"""A profile is honoured, or refused by name."""

import subprocess
import sys
from dataclasses import replace

import pytest

from core.codetree import ROOT
from core.config import load
from core.errors import ConfigError
from core.profile import ProfileConfig
from model.numerics import honour

HONOUR = """
import sys
from core.config import load
from core.profile import ProfileConfig, apply
profile = load("smoke", "profile", ProfileConfig)
apply(profile)
import torch
from model.numerics import honour
honour(profile)
assert torch.get_num_threads() == 1
assert torch.backends.cpu.get_cpu_capability() == "AVX2"
assert torch.are_deterministic_algorithms_enabled()
assert "torch._inductor" not in sys.modules
"""


@pytest.fixture
def portable() -> ProfileConfig:
    return load("smoke", "profile", ProfileConfig)


def test_the_portable_profile_is_honoured_in_a_new_process() -> None:
    command = [sys.executable, "-c", HONOUR]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_missing_environment_is_refused(portable: ProfileConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    with pytest.raises(ConfigError, match="asks for MKL_CBWR=COMPATIBLE, this process has nothing"):
        honour(portable)


def test_a_capability_that_torch_does_not_run_is_refused(
    portable: ProfileConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set after torch was imported: too late, as in a process that forgot to apply its profile.
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with pytest.raises(ConfigError, match="asks torch for ATEN_CPU_CAPABILITY=DEFAULT, torch runs AVX"):
        honour(replace(portable, environment={"ATEN_CPU_CAPABILITY": "default"}))
