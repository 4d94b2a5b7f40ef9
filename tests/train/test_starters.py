"""Runs started as a user starts them, on two processes and more: one result, whoever starts them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.codetree import ROOT
from core.journal import Journal, read_journal
from launch.config import LaunchConfig, Starter
from launch.starters import ENVIRONMENT, command_of
from launch.supervise import Job, supervise
from tests.conftest import run_module
from tests.data.processes import until
from tests.slurm_cluster import slurm_cluster, why_not
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.runs import Result, Tiny, beats_of, events, finished_folder, result_of

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


def supervised(
    tiny: Tiny, out: Path, config: LaunchConfig, *overrides: str, environment: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Have the launcher make a run of two ranks; returns how its generations ended."""
    out.mkdir()
    job = Job(
        stage="train",
        command=command_of(config, ["train", "run", *tiny.arguments(out, *overrides)]),
        ranks=config.ranks,
        is_elsewhere=config.starter is Starter.SRUN,
        environment={**ENVIRONMENT, **(environment or {})},
    )
    journal = Journal(out / "journal.jsonl", is_speaking=False)
    supervise(job, root=ROOT, out=out, config=config, journal=journal)
    return [event for event in read_journal(out / "journal.jsonl") if event["event"] == "generation.ended"]


# Twenty seconds; the agent is torchrun's kin to the supervisor, whose drill is tested with that.
@pytest.mark.slow
@needs_deepspeed
def test_the_launcher_starts_deepspeeds_agent_again_when_a_rank_dies(tiny: Tiny, tmp_path: Path) -> None:
    config = LaunchConfig(ranks=2, starter=Starter.DEEPSPEED, kill_rank=1, kill_at_step=6)
    ended = supervised(tiny, tmp_path / "out", config, "train.placement=deepspeed2")
    assert [event["action"] for event in ended] == ["restart", "finish"]
    whole = run_module("train", "run", *tiny.arguments(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert result_of(tmp_path / "out") == result_of(tmp_path / "whole")


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")
def test_the_launcher_starts_a_job_step_again_when_a_task_dies(
    tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    options = ["--nodes=2", "--ntasks-per-node=1"]
    config = LaunchConfig(ranks=2, starter=Starter.SRUN, srun_options=options, stop_grace_s=10)
    out = tmp_path / "out"
    killer = threading.Thread(target=kill_a_rank, args=[out], kwargs={"rank": 1, "step": 6})
    killer.start()
    environment = {"SLURM_CONF": cluster["SLURM_CONF"], "MASTER_ADDR": "127.0.0.1"}
    ended = supervised(tiny, out, config, "train.placement=fsdp2", environment=environment)
    killer.join()
    assert [event["action"] for event in ended] == ["restart", "finish"]
    whole = run_module("train", "run", *tiny.arguments(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert result_of(out) == result_of(tmp_path / "whole")


def kill_a_rank(out: Path, *, rank: int, step: int) -> None:
    """Kill a rank when it has finished a step."""
    until(lambda: any(beat["step"] >= step for beat in beats_of(out, rank)))
    os.kill(beats_of(out, rank)[0]["pid"], signal.SIGKILL)
