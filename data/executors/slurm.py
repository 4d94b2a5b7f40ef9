"""An array job, through datatrove's SlurmPipelineExecutor.

datatrove writes the script and submits it; this waits for the job, tells of a task that failed, and cancels the job if
it is interrupted or a task fails. The nodes must see the checkout, its environment and the run's folder at the same
paths. The job's name is a hash of the step's folder, so that a job whose launcher was killed is found and cancelled.
"""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from core.codetree import ROOT
from core.errors import ConfigError, ProjectError, RetryError
from core.hashing import sha256_hex
from data.engine import Job
from data.engineconfig import EngineConfig, SlurmConfig
from data.executors.pipeline import TaskStep, be_quiet, raise_noted

ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "SPECIAL_EXIT", "TIMEOUT"),
}
NO_LONGER_KNOWN = "Invalid job id"
LOGS = "slurm_logs"
CONTROLLER_WAIT_S = 600.0


class SlurmExecutor(SlurmPipelineExecutor):  # type: ignore[misc]
    """datatrove's Slurm executor for some of a job's tasks."""

    def __init__(self, job: Job, tasks: list[int], *, name: str, notes: Path, engine: EngineConfig) -> None:
        slurm = engine.slurm
        super().__init__(
            [TaskStep(job, notes=notes)],
            tasks=job.tasks,
            time=slurm.time,
            partition=slurm.partition,
            qos=slurm.qos,
            cpus_per_task=slurm.cpus_per_task,
            mem_per_cpu_gb=slurm.mem_per_cpu_gb,
            workers=engine.workers,
            job_name=name,
            env_command=_environment(slurm),
            sbatch_args={"account": slurm.account, "chdir": str(Path.cwd())},
            max_array_size=slurm.max_array,
            job_id_retriever=self._take_id,
            logging_dir=str(job.engine_folder),
            slurm_logs_folder=str(job.engine_folder / LOGS),
            skip_completed=False,
            tasks_per_job=slurm.tasks_per_job,
        )
        self.wanted = tasks
        self.job_ids: list[str] = []

    def get_incomplete_ranks(self, ranks: Any = None, skip_completed: Any = None) -> list[int]:
        """The tasks to be done, by our own markers."""
        return self.wanted

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """Options of sbatch, without those that are left to the cluster."""
        options: dict[str, Any] = super().get_sbatch_args(max_array)
        return {name: value for name, value in options.items() if value != "" or name == "requeue"}

    def launch_merge_stats(self) -> None:
        """Nothing: one more job in the queue for each step, which would stay there if a task fails."""

    def label(self, task: int) -> str:
        """The element of a job array that does a task, as Slurm writes it."""
        number, index = divmod(self.wanted.index(task) // self.tasks_per_job, self.max_array_size)
        return f"{self.job_ids[number]}_{index}"

    def _take_id(self, said: str) -> str:
        self.job_ids.append(said.split()[-1])
        return self.job_ids[-1]


def execute(job: Job, tasks: list[int], engine: EngineConfig, advance: Callable[[int], None]) -> None:
    """Do tasks as jobs of Slurm, at most `data.workers` at a time, and wait for them."""
    _check(job)
    be_quiet()
    name = f"{job.step.name}-{sha256_hex(str(job.folder).encode())[:12]}"
    notes = Path(mkdtemp(prefix="notes-", dir=job.engine_folder))
    executor = SlurmExecutor(job, tasks, name=name, notes=notes, engine=engine)
    _cancel(name)
    with ExitStack() as on_failure:
        on_failure.callback(_cancel, name)
        _submit(executor, job)
        _wait(executor, job, notes, engine.slurm, advance)
        if _have_ended(executor, engine.slurm):
            on_failure.pop_all()


def _check(job: Job) -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError("data.executor is slurm, but there is no sbatch here; start from a login node, or use local")
    if len(str(job.folder).split()) > 1:
        raise ConfigError(f"{job.folder} has a space in it, which the jobs of Slurm cannot have; change run.out")


def _environment(slurm: SlurmConfig) -> str:
    folder = Path(sys.executable).parent
    exports = f'export PATH={shlex.quote(str(folder))}:"$PATH" PYTHONPATH={shlex.quote(str(ROOT))}'
    return f"{slurm.setup}; {exports}" if slurm.setup else exports


def _submit(executor: SlurmExecutor, job: Job) -> None:
    try:
        executor.run()
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"{error.cmd[0]} refused the job of {job.step.name} with exit code {error.returncode} and the words above; "
            "change section data.slurm"
        ) from error


def _wait(executor: SlurmExecutor, job: Job, notes: Path, slurm: SlurmConfig, advance: Callable[[int], None]) -> None:
    missing = list(executor.wanted)
    heard = time.monotonic()
    lost_since = 0.0
    while missing:
        time.sleep(slurm.poll_s)
        states = _states(executor.job_ids)
        now = time.monotonic()
        raise_noted(notes)
        present = {path.name for path in job.folder.iterdir()}
        still = [task for task in missing if job.place(task).name not in present]
        if len(still) < len(missing):
            advance(len(missing) - len(still))
            missing = still
        if states is None:
            if now - heard > CONTROLLER_WAIT_S:
                raise RetryError(f"Slurm's controller has not answered for {now - heard:.0f} s; run it again")
            continue
        heard = now
        lost = [task for task in missing if states.get(executor.label(task), "gone") in {*ENDED, "gone"}]
        lost_since = (lost_since or now) if lost else 0.0
        # A file system of several machines may show a result late; and a job may yet be requeued.
        if lost and now - lost_since >= slurm.settle_s:
            raise _lost(executor, job, lost[0], states)


def _have_ended(executor: SlurmExecutor, slurm: SlurmConfig) -> bool:
    """Whether jobs whose results are here end by themselves; until then they write logs and statistics."""
    deadline = time.monotonic() + slurm.settle_s
    while time.monotonic() < deadline:
        states = _states(executor.job_ids)
        if states is not None and ENDED.issuperset(states.values()):
            return True
        time.sleep(slurm.poll_s)
    return False


def _states(ids: list[str]) -> dict[str, str] | None:
    """State of every element of arrays that Slurm still knows; None if it does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", "--format=%i %T"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and NO_LONGER_KNOWN not in done.stderr:
        return None
    return dict(line.split() for line in done.stdout.splitlines())


def _lost(executor: SlurmExecutor, job: Job, task: int, states: dict[str, str]) -> ProjectError:
    label = executor.label(task)
    log = job.engine_folder / LOGS / f"{label}.out"
    return RetryError(
        f"task {task} of {job.step.name} left no result: Slurm's job {label} ended as {states.get(label, 'unknown')}, "
        f"its log is {log}; run the same command again, with other limits in data.slurm if it was stopped by one"
    )


def _cancel(name: str) -> None:
    subprocess.run(["scancel", f"--name={name}"], capture_output=True, check=False)
