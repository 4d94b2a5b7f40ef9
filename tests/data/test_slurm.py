"""Tasks on a real Slurm of two nodes on this machine; see tests/slurm_cluster.py."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, ProjectError, RetryError
from data.engine import run_tasks
from data.engineconfig import EngineConfig, Executor, SlurmConfig
from tests.conftest import run_module
from tests.data.engine_launcher import QUICK, run, start
from tests.data.engine_steps import Faulty, Square, done_in, workers_in
from tests.data.processes import DEADLINE_S, is_running, until
from tests.slurm_cluster import slurm_cluster, why_not

needs_slurm = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")
ON_SLURM = [
    *("data.executor=slurm", "data.workers=2", "data.slurm.mem_per_cpu_gb=1"),
    *("data.slurm.poll_s=0.3", "data.slurm.settle_s=2"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mapping[str, str]]:
    with slurm_cluster(nodes=2) as environment:
        yield environment


@pytest.fixture
def here(cluster: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process finds the cluster."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])


def queue(cluster: Mapping[str, str], *, states: str, shown: str) -> list[str]:
    command = ["squeue", "--noheader", "--array", f"--states={states}", f"--format={shown}"]
    done = subprocess.run(command, env=dict(cluster), capture_output=True, text=True, check=True)
    return done.stdout.split()


@needs_slurm
def test_a_recipe_gives_the_same_digests_on_two_nodes_as_here(
    tiny_recipe: Path, tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    runs = tmp_path / "runs"
    for stage in ("fetch", "clean", "tokenizer", "pack"):
        assert run_module("data", stage, tiny_recipe).returncode == 0
    for stage in ("clean", "pack"):
        placed = [f"run.inputs={runs}", f"run.out={tmp_path / 'slurm'}", *ON_SLURM]
        ended = run_module("data", stage, tiny_recipe, *placed, env=cluster)
        assert ended.returncode == 0, ended.stderr
        assert current(tmp_path / "slurm", stage).digest == current(runs, stage).digest
    assert set(queue(cluster, states="completed", shown="%N")) == {"n1", "n2"}


@needs_slurm
@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("data", DataError, r"^page 7 of crawl\.warc is cut off; fetch it again$"),
        ("kill", RetryError, r"^task 1 of faulty left no result: .* ended as FAILED, .*; run the same command again"),
        ("bug", ProjectError, r"^task 1 of faulty crashed with ValueError: a slip of ours; its traceback is in "),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_ends_a_task_on_a_node_is_told_here(
    tmp_path: Path, how: str, kind: type[ProjectError], words: str
) -> None:
    step = Faulty(log=tmp_path / "log", at=1, how=how)
    engine = EngineConfig(executor=Executor.SLURM, workers=2, slurm=QUICK)
    with pytest.raises(kind, match=words) as caught:
        run_tasks(step, tasks=2, folder=tmp_path / "work", identity="x", engine=engine)
    assert caught.type is kind


@needs_slurm
@pytest.mark.usefixtures("here")
def test_tasks_that_share_jobs_of_several_arrays_are_told_apart(tmp_path: Path) -> None:
    """Seven tasks, two a job, and arrays of two jobs: the last task is in the second job of the second array."""
    step = Faulty(log=tmp_path / "log", at=6, how="kill")
    slurm = replace(QUICK, tasks_per_job=2, max_array=2)
    engine = EngineConfig(executor=Executor.SLURM, workers=2, slurm=slurm)
    with pytest.raises(RetryError, match=r"^task 6 of faulty left no result: Slurm's job \d+_1 ended as FAILED, "):
        run_tasks(step, tasks=7, folder=tmp_path / "work", identity="x", engine=engine)
    assert done_in(tmp_path / "log") == list(range(7))
    run_tasks(replace(step, at=-1), tasks=7, folder=tmp_path / "work", identity="x", engine=engine)
    assert done_in(tmp_path / "log") == [0, 1, 2, 3, 4, 5, 6, 6]


@needs_slurm
def test_an_interrupt_cancels_the_jobs(tmp_path: Path, cluster: Mapping[str, str]) -> None:
    launcher = start(tmp_path, Executor.SLURM, cluster)
    until(lambda: done_in(tmp_path / "log") == [0, 1, 2, 3])
    assert len(queue(cluster, states="all", shown="%i")) >= 4
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(DEADLINE_S) == 130
    until(lambda: not queue(cluster, states="pending,running,completing", shown="%i"))
    assert not any(map(is_running, workers_in(tmp_path / "log")))


@needs_slurm
@pytest.mark.usefixtures("here")
def test_the_jobs_of_a_killed_launcher_are_cancelled_by_the_next(tmp_path: Path, cluster: Mapping[str, str]) -> None:
    launcher = start(tmp_path, Executor.SLURM, cluster)
    log = tmp_path / "log"
    until(lambda: done_in(log) == [0, 1, 2, 3])
    launcher.kill()
    launcher.wait()
    until(lambda: len(queue(cluster, states="running,completing", shown="%i")) == 1)
    run(tmp_path, Executor.SLURM, is_stuck=False)
    until(lambda: not queue(cluster, states="pending,running,completing", shown="%i"))
    assert done_in(log).count(0) == 2
    assert not any(map(is_running, workers_in(log)))


@needs_slurm
@pytest.mark.usefixtures("here")
def test_a_job_that_slurm_refuses_is_a_mistake_of_the_recipe(tmp_path: Path) -> None:
    engine = EngineConfig(executor=Executor.SLURM, slurm=SlurmConfig(partition="nowhere"))
    with pytest.raises(ConfigError, match=r"sbatch refused the job of square .* change section data\.slurm"):
        run_tasks(Square(log=tmp_path / "log"), tasks=1, folder=tmp_path / "work", identity="x", engine=engine)


def test_a_machine_without_slurm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    engine = EngineConfig(executor=Executor.SLURM)
    with pytest.raises(ConfigError, match="there is no sbatch here"):
        run_tasks(Square(log=tmp_path / "log"), tasks=1, folder=tmp_path / "work", identity="x", engine=engine)
