"""A launcher that tests interrupt and kill: `python -m tests.data.engine_launcher FOLDER EXECUTOR`.

It does four tasks of step Waiting with two workers, the first of which never ends; FOLDER/log tells of each.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from core.codetree import ROOT
from data.engine import run_tasks
from data.engineconfig import EngineConfig, Executor, SlurmConfig
from tests.data.engine_steps import Waiting

TASKS = 4
QUICK = SlurmConfig(poll_s=0.3, settle_s=2.0, mem_per_cpu_gb=1)


def start(folder: Path, executor: Executor, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the launcher."""
    command = [sys.executable, "-m", "tests.data.engine_launcher", str(folder), executor.value]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def run(folder: Path, executor: Executor, *, is_stuck: bool) -> None:
    """Do the tasks."""
    step = Waiting(log=folder / "log", is_stuck=is_stuck)
    engine = EngineConfig(executor=executor, workers=2, slurm=QUICK)
    run_tasks(step, tasks=TASKS, folder=folder / "work", identity="x", engine=engine)


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), Executor(sys.argv[2]), is_stuck=True)
    except KeyboardInterrupt:  # as core.cli does
        sys.exit(130)
