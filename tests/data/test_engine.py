import dataclasses
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from core.artifact import list_files
from core.config import identity
from core.errors import ConfigError, DataError, ProjectError, RetryError
from data.engine import run_tasks
from data.engineconfig import EngineConfig, Executor, RayConfig, SlurmConfig
from data.executors.local import Worker
from tests.data.engine_launcher import start
from tests.data.engine_steps import Faulty, Large, Square, done_in, workers_in
from tests.data.processes import DEADLINE_S, is_running, until

TASKS = 7


def local(workers: int) -> EngineConfig:
    return EngineConfig(executor=Executor.LOCAL, workers=workers)


def square(folder: Path, *, workers: int = 1, identity: str = "one") -> list[Path]:
    step = Square(log=folder.parent / "log")
    return run_tasks(step, tasks=TASKS, folder=folder, identity=identity, engine=local(workers))


def results(folders: list[Path]) -> list[object]:
    return [list_files(folder) for folder in folders]


def test_any_number_of_workers_gives_the_same_files(tmp_path: Path) -> None:
    found = {}
    for workers in (1, 2, 3):
        (tmp_path / str(workers)).mkdir()
        found[workers] = square(tmp_path / str(workers) / "work", workers=workers)
        assert (workers_in(tmp_path / str(workers) / "log") == {os.getpid()}) == (workers == 1)
    assert results(found[1]) == results(found[2]) == results(found[3])
    assert [(folder / "deep" / "square.txt").read_text() for folder in found[3]] == [str(n * n) for n in range(TASKS)]
    assert [folder.name for folder in found[1]] == [f"{task:05d}" for task in range(TASKS)]


def test_what_is_done_is_kept_and_what_is_not_is_done(tmp_path: Path) -> None:
    folders = square(tmp_path / "work")
    first = results(folders)
    (folders[2] / "deep" / "square.txt").write_text("5")
    (folders[4] / "done.json").unlink()
    (folders[5] / "deep" / "stranger").touch()
    (tmp_path / "log").unlink()
    assert results(square(tmp_path / "work", workers=2)) == first
    assert done_in(tmp_path / "log") == [2, 4, 5]
    (tmp_path / "log").unlink()
    square(tmp_path / "work")
    assert not (tmp_path / "log").exists()


def test_another_identity_or_number_of_tasks_keeps_nothing(tmp_path: Path) -> None:
    square(tmp_path / "work")
    square(tmp_path / "work", identity="two")
    assert done_in(tmp_path / "log") == sorted([*range(TASKS), *range(TASKS)])
    run_tasks(Square(log=tmp_path / "log"), tasks=2, folder=tmp_path / "work", identity="two", engine=local(1))
    assert done_in(tmp_path / "log").count(0) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_comes_out_as_it_is_and_others_are_kept(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    step = Faulty(log=tmp_path / "log", at=3, how="data")
    with pytest.raises(DataError, match=r"^page 7 of crawl\.warc is cut off; fetch it again$"):
        run_tasks(step, tasks=4, folder=tmp_path / "work", identity="x", engine=local(workers))
    assert "Traceback" not in capfd.readouterr().err
    finished = [task for task in range(4) if (tmp_path / "work" / f"{task:05d}" / "done.json").exists()]
    # The other worker may have been at its task still.
    assert set(finished) < {0, 1, 2, 3} and 3 not in finished and len(finished) > 3 - workers
    healed = Faulty(log=tmp_path / "log", at=-1, how="")
    run_tasks(healed, tasks=4, folder=tmp_path / "work", identity="x", engine=local(workers))
    assert [done_in(tmp_path / "log").count(task) for task in (*finished, 3)] == [*(1 for _ in finished), 2]


def test_a_killed_worker_is_a_fault_of_the_moment(tmp_path: Path) -> None:
    step = Faulty(log=tmp_path / "log", at=2, how="kill")
    with pytest.raises(RetryError, match=r"task 2 of faulty was killed by SIGKILL.*run the same command again"):
        run_tasks(step, tasks=5, folder=tmp_path / "work", identity="x", engine=local(2))


def test_a_worker_killed_between_two_tasks_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give = Worker.give

    def kill_and_give(worker: Worker, task: int) -> None:
        if task == 3:
            worker.process.kill()
            worker.process.join()
        give(worker, task)

    monkeypatch.setattr(Worker, "give", kill_and_give)
    with pytest.raises(RetryError, match=r"task 3 of square was killed by SIGKILL.*run the same command again"):
        square(tmp_path / "work", workers=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_a_fault_of_the_moment(tmp_path: Path, workers: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        do = partial(run_tasks, tasks=2, folder=disk / "work", identity="x", engine=local(workers))
        with pytest.raises(RetryError, match=r"no space is left on the disk of .* free some and run it again"):
            do(Large(log=tmp_path / "log", megabytes=3))
        assert len(do(Large(log=tmp_path / "log", megabytes=0))) == 2
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_bug_in_a_step_is_no_error_of_the_user(tmp_path: Path) -> None:
    step = Faulty(log=tmp_path / "log", at=2, how="bug")
    with pytest.raises(ValueError, match="a slip of ours"):
        run_tasks(step, tasks=3, folder=tmp_path / "one", identity="x", engine=local(1))
    with pytest.raises(ProjectError, match="task 2 of faulty crashed"):
        run_tasks(step, tasks=3, folder=tmp_path / "two", identity="x", engine=local(2))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_launcher(tmp_path: Path, how: signal.Signals) -> None:
    launcher = start(tmp_path, Executor.LOCAL, os.environ)
    log = tmp_path / "log"
    until(lambda: done_in(log) == [0, 1, 2, 3])
    launcher.send_signal(how)
    assert launcher.wait(DEADLINE_S) == (130 if how is signal.SIGINT else -how)
    until(lambda: not any(map(is_running, workers_in(log))))


def test_datatrove_and_progress_leave_the_console_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    square(tmp_path / "work", workers=2)
    told = capfd.readouterr()
    assert told.out == ""
    assert [line.startswith(f"square {TASKS}/{TASKS} tasks") for line in told.err.splitlines()] == [True]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.workers is 0"):
        EngineConfig(workers=0)
    for name in ("cpus_per_task", "mem_per_cpu_gb", "tasks_per_job", "max_array", "poll_s"):
        with pytest.raises(ConfigError, match=rf"data\.slurm.*{name}.* 0"):
            dataclasses.replace(SlurmConfig(), **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.ray\.cpus_per_task is 0"):
        RayConfig(cpus_per_task=0)


def test_nothing_of_the_section_but_keep_dropped_is_identity() -> None:
    moved = EngineConfig(executor=Executor.SLURM, workers=9, slurm=SlurmConfig(partition="long"))
    assert identity(moved) == identity(EngineConfig()) == {"keep_dropped": False}
