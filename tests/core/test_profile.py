"""Numerics profiles: set before torch is imported, or refused."""

import subprocess
import sys

import pytest

from core.codetree import ROOT
from core.config import load
from core.errors import ConfigError
from core.hashing import hash_value
from core.profile import BUILDS, ProfileConfig, apply, cpu_flags, fingerprint

APPLY = """
import os, sys
from core.config import load
from core.profile import BUILDS, ProfileConfig, apply
profile = load("smoke", "profile", ProfileConfig, sys.argv[1:])
{before}
apply(profile)
print(os.environ["MKL_CBWR"], os.environ["OMP_NUM_THREADS"])
"""


def applied(*overrides: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", APPLY.format(before=before), *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def portable(*overrides: str) -> ProfileConfig:
    return load("smoke", "profile", ProfileConfig, overrides)


def test_a_profile_sets_its_environment_and_its_threads() -> None:
    assert applied("profile.threads=2").stdout == "COMPATIBLE 2\n"


def test_a_profile_that_comes_after_torch_is_refused() -> None:
    done = applied(before="sys.modules['torch'] = sys")
    assert done.returncode == 1 and "must set" in done.stderr and "before torch is imported" in done.stderr


def test_a_profile_that_was_set_before_torch_may_be_set_again() -> None:
    assert applied(before="apply(profile); sys.modules['torch'] = sys").returncode == 0


def test_a_cpu_that_lacks_a_feature_is_refused() -> None:
    profile = portable("profile.cpu_features=[avx2, flux_capacitor]")
    with pytest.raises(ConfigError, match="needs CPU feature flux_capacitor, which this machine lacks"):
        apply(profile)


def test_a_profile_without_threads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"profile\.threads is 0"):
        portable("profile.threads=0")


def test_the_fingerprint_follows_what_was_asked_and_the_builds_but_not_the_machine_unless_bound_to_it() -> None:
    facts = fingerprint(portable())
    assert "cpu" not in facts and set(facts["builds"]) == set(BUILDS)
    assert hash_value(fingerprint(portable("profile.threads=2"))) != hash_value(facts)
    bound = fingerprint(portable("profile=native"))
    assert bound["cpu"]["flags"] == sorted(cpu_flags())
