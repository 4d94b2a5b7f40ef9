"""A cuda profile asks the machine for everything that could change bits, and stops at the first thing it lacks.

No GPU has run any of it: what is tested is that it fails closed, and that what nvidia-smi and packages say is read as
their documentation has it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import gpu
from core.config import load
from core.errors import ConfigError
from core.profile import ProfileConfig, fingerprint
from tests.conftest import run_module

HAS_GPU = gpu.DRIVER.exists()
PACKAGES = {
    "nvidia-cublas-cu12": "12.8.4.1",
    "nvidia-cuda-runtime-cu12": "12.8.90",
    "nvidia-cudnn-cu12": "9.10.2.21",
    "nvidia-nccl-cu12": "2.27.5",
}
CARD = "NVIDIA H100 80GB HBM3, 9.0, 570.86.15"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    gpu.gpu_facts.cache_clear()
    yield
    gpu.gpu_facts.cache_clear()


def _machine(folder: Path, patch: pytest.MonkeyPatch, *, cards: str, packages: dict[str, str], code: int = 0) -> None:
    """A machine with a driver, an nvidia-smi that says `cards`, and packages, all as real files."""
    (folder / "version").write_text("NVRM version: NVIDIA UNIX\n")
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '%b' '{cards}'\nexit {code}\n")
    tool.chmod(0o755)
    for name, version in packages.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    patch.setattr(gpu, "DRIVER", folder / "version")
    patch.setenv("PATH", str(folder), prepend=":")
    patch.syspath_prepend(str(folder))


def test_the_fingerprint_names_gpu_driver_and_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, cards=f"{CARD}\\n{CARD}\\n", packages=PACKAGES)
    profile = load("smoke", "profile", ProfileConfig, ["profile=cuda"])
    facts = fingerprint(profile)["gpu"]
    assert (facts["name"], facts["compute_cap"], facts["driver_version"]) == tuple(CARD.split(", "))
    assert PACKAGES.items() <= facts["libraries"].items()


def test_another_driver_or_library_is_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load("smoke", "profile", ProfileConfig, ["profile=cuda"])
    found = []
    for index, (card, nccl) in enumerate(((CARD, "2.27.5"), (CARD, "2.27.6"), (CARD.replace(".15", ".16"), "2.27.5"))):
        gpu.gpu_facts.cache_clear()
        folder = tmp_path / str(index)
        folder.mkdir()
        with monkeypatch.context() as patch:
            _machine(folder, patch, cards=f"{card}\\n", packages=PACKAGES | {"nvidia-nccl-cu12": nccl})
            found.append(fingerprint(profile)["gpu"])
    assert found[0] != found[1] != found[2] != found[0]


LACKING = {
    "two models": (f"{CARD}\\nNVIDIA A100-SXM4-40GB, 8.0, 570.86.15\\n", PACKAGES, 0, "check gpu.model failed"),
    "no card": ("No devices were found\\n", PACKAGES, 6, r"check gpu.tool failed, nvidia-smi ended with exit code 6"),
    "silent": ("", PACKAGES, 0, "it named no GPU"),
    "library": (
        f"{CARD}\\n",
        {"nvidia-cublas-cu12": "12.8.4.1"},
        0,
        "check gpu.libraries failed, no package nvidia-cud",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_is_lacking_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    cards, packages, code, told = LACKING[what]
    _machine(tmp_path, monkeypatch, cards=cards, packages=packages, code=code)
    with pytest.raises(ConfigError, match=told):
        gpu.gpu_facts()


@pytest.mark.skipif(HAS_GPU, reason="this machine has an NVIDIA driver; the profile may be honoured here")
@pytest.mark.parametrize("verb", ["doctor", "fingerprint"])
def test_on_a_machine_without_gpu_the_profile_ends_in_one_line_that_names_the_check(verb: str) -> None:
    made = run_module("train", verb, "smoke", "profile=cuda")
    assert made.returncode == 64
    assert made.stdout == "" and made.stderr.count("\n") == 1
    assert "error: a cuda profile cannot be honoured here: check gpu.driver failed" in made.stderr


REFUSED = {
    "profile.is_update_fused=true": "is a loop in C that runs on CPUs",
    "profile.environment.CUBLAS_WORKSPACE_CONFIG=default": "sets CUBLAS_WORKSPACE_CONFIG to default",
    "profile.device=cpu profile.cuda.is_tf32_allowed=true": "profile.cuda has no effect with profile.device cpu",
    "profile.cuda.sdpa_backends=[fast]": "sdpa_backends",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_cuda_profile_that_cannot_keep_its_bits_is_refused(overrides: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[overrides]):
        load("smoke", "profile", ProfileConfig, ["profile=cuda", *overrides.split()])
