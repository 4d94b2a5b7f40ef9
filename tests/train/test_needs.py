"""What is not installed is said before anything starts: by `train check`, `launch check` and every rank."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from core.errors import ConfigError
from tests.conftest import run_module
from tests.train.runs import Tiny
from train.check import main as check
from train.needs import check_client
from train.run import read_work


def absent(name: str) -> str:
    """As importlib.metadata does."""
    raise PackageNotFoundError(name)


def test_a_placement_without_its_package_is_refused_before_any_rank_joins(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tiny.arguments(tmp_path / "out")
    monkeypatch.setattr("train.needs.version", absent)
    check(arguments)
    for verb in (check, lambda arguments: read_work(arguments, "usage")):
        with pytest.raises(ConfigError, match=r"need deepspeed 0\.19\.8, no deepspeed is installed"):
            verb([*arguments, "train.placement=deepspeed2"])


def test_an_address_without_a_client_is_refused_by_both_checks(tiny: Tiny) -> None:
    given = "train.checkpoints=nowhere://bucket/runs"
    said = r"train\.checkpoints is 'nowhere://bucket/runs', which has no client here"
    with pytest.raises(ConfigError, match=said):
        check([str(tiny.recipe), given])
    refused = run_module("launch", "check", tiny.recipe, given)
    assert refused.returncode == ConfigError.exit_code
    assert "train.checkpoints is 'nowhere://bucket/runs', which has no client here" in refused.stderr


@pytest.mark.parametrize(
    "address", ["/a/folder", "file:///a/folder", "memory://a", "s3://bucket/a", "simplecache::memory://a"]
)
def test_an_address_with_a_client_is_taken_and_nobody_is_asked(address: str) -> None:
    check_client(address)
    with pytest.raises(ConfigError, match="no client"):
        check_client(f"nowhere::{address}")


def test_the_engines_own_sum_at_stage_3_cannot_be_compiled(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.needs.version", lambda name: "0.19.8")
    compiled = ["profile.is_compiled=true", "profile.is_bound_to_cpu_model=true", "train.placement=deepspeed3"]
    check([str(tiny.recipe), *compiled])
    with pytest.raises(ConfigError, match=r"deepspeed3 with train\.sum fast cannot be compiled"):
        check([str(tiny.recipe), *compiled, "train.sum=fast"])
