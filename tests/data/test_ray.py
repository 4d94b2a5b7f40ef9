"""Tasks on a Ray of this machine."""

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, ProjectError, RetryError
from data.engine import run_tasks
from data.engineconfig import EngineConfig, Executor, RayConfig
from tests.conftest import run_module
from tests.data.engine_launcher import start
from tests.data.engine_steps import Faulty, Square, done_in, workers_in
from tests.data.processes import DEADLINE_S, is_running, until

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray`")
ON_RAY = EngineConfig(executor=Executor.RAY, workers=2)


@pytest.fixture(scope="module")
def connected() -> Iterator[None]:
    """The Ray that the first test starts in this process serves the others, and ends with them."""
    yield
    importlib.import_module("ray").shutdown()


@needs_ray
def test_a_recipe_gives_the_same_digests_on_ray_as_here(tiny_recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for stage in ("fetch", "clean", "tokenizer", "pack"):
        assert run_module("data", stage, tiny_recipe).returncode == 0
    for stage in ("clean", "pack"):
        placed = [f"run.inputs={runs}", f"run.out={tmp_path / 'ray'}", "data.executor=ray", "data.workers=2"]
        ended = run_module("data", stage, tiny_recipe, *placed)
        assert ended.returncode == 0, ended.stderr
        assert current(tmp_path / "ray", stage).digest == current(runs, stage).digest


@needs_ray
@pytest.mark.usefixtures("connected")
def test_tasks_are_done_by_other_processes_and_what_ends_one_is_told_here(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_tasks(Square(log=log), tasks=4, folder=tmp_path / "work", identity="x", engine=ON_RAY)
    assert done_in(log) == [0, 1, 2, 3]
    assert os.getpid() not in workers_in(log)
    ends: list[tuple[str, type[ProjectError], str]] = [
        ("data", DataError, r"^page 7 of crawl\.warc is cut off; fetch it again$"),
        ("kill", RetryError, r"^task 1 of faulty was lost .*run the same command again$"),
        ("bug", ProjectError, r"^task 1 of faulty crashed with ValueError: a slip of ours; its traceback is in "),
    ]
    for how, kind, words in ends:
        step = Faulty(log=log, at=1, how=how)
        with pytest.raises(kind, match=words) as caught:
            run_tasks(step, tasks=2, folder=tmp_path / how, identity="x", engine=ON_RAY)
        assert caught.type is kind


@needs_ray
@pytest.mark.usefixtures("connected")
def test_a_task_that_fits_on_no_node_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    engine = EngineConfig(executor=Executor.RAY, ray=RayConfig(memory_per_task_gb=1e6))
    with pytest.raises(ConfigError, match=r"no node of this Ray has 1 CPUs and 1000000\.0 GB"):
        run_tasks(Square(log=tmp_path / "log"), tasks=1, folder=tmp_path / "work", identity="x", engine=engine)


@needs_ray
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_tasks_end_with_their_launcher(tmp_path: Path, how: signal.Signals) -> None:
    launcher = start(tmp_path, Executor.RAY, os.environ)
    log = tmp_path / "log"
    until(lambda: done_in(log) == [0, 1, 2, 3])
    launcher.send_signal(how)
    assert launcher.wait(DEADLINE_S) == (130 if how is signal.SIGINT else -how)
    until(lambda: not any(map(is_running, workers_in(log))))


def test_a_machine_without_ray_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed; install the extra `ray`"):
        run_tasks(Square(log=tmp_path / "log"), tasks=1, folder=tmp_path / "work", identity="x", engine=ON_RAY)
