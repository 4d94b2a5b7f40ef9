"""Runs started as a user starts them, on two processes and more: one result, whoever starts them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.codetree import ROOT
from tests.conftest import run_module
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.runs import Result, Tiny, events, finished_folder, result_of

SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2")


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What `python -m train run` gives."""
    out = tmp_path_factory.mktemp("plain")
    ended = run_module("train", "run", *tiny.arguments(out, *SHORT))
    assert ended.returncode == 0, ended.stderr
    return result_of(out)


def ranks_of(out: Path) -> int:
    """How many ranks took part in a finished run."""
    (started,) = events(finished_folder(out), "run.started")
    return int(started["world_size"])


def test_torchrun(plain: Result, tiny: Tiny, tmp_path: Path) -> None:
    agent = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")
    ended = run_module(*agent, "-m", "train", "run", *tiny.arguments(tmp_path, "train.placement=hsdp", *SHORT))
    assert ended.returncode == 0, ended.stderr
    assert result_of(tmp_path) == plain
    assert ranks_of(tmp_path) == 2


@needs_deepspeed
def test_the_deepspeed_launcher(plain: Result, tiny: Tiny, tmp_path: Path) -> None:
    # The entry point that pip installs as `deepspeed`.
    launcher = ("--num_gpus=2", "--no_local_rank", "--log_level=error", "--master_port=29641", "--module")
    script = "from deepspeed.launcher.runner import main; main()"
    arguments = ["train", "run", *tiny.arguments(tmp_path, "train.placement=deepspeed3", *SHORT)]
    command = [sys.executable, "-c", script, *launcher, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert result_of(tmp_path) == plain
    assert ranks_of(tmp_path) == 2


if find_spec("tests.slurm_cluster"):
    from tests.slurm_cluster import slurm_cluster, why_not

    @pytest.fixture(scope="module")
    def cluster() -> Iterator[Mapping[str, str]]:
        """A Slurm of two nodes."""
        with slurm_cluster(nodes=2) as environment:
            yield environment

    @pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")
    def test_srun_on_two_nodes(plain: Result, tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str]) -> None:
        # Both nodes are this machine, whose name is not theirs.
        environment = {**cluster, "MASTER_ADDR": "127.0.0.1"}
        task = [sys.executable, "-m", "train", "run", *tiny.arguments(tmp_path, "train.placement=hsdp", *SHORT)]
        ended = subprocess.run(
            ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", *task],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert result_of(tmp_path) == plain
        assert ranks_of(tmp_path) == 2
