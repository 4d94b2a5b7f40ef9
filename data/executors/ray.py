"""Ray, through datatrove's RayPipelineExecutor.

What a rank does is datatrove's; how ranks are submitted is ours. datatrove 0.10.1 runs each in a pool inside an actor,
which waits forever for a process that was killed, and it says nothing of why a rank failed. Here a rank is a Ray task.
The nodes must see the checkout, its environment and the run's folder at the same paths.
"""

import logging
import os
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.executor.base import PipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor

from core.codetree import ROOT
from core.errors import ConfigError, ProjectError, RetryError
from data.engine import Job, minding_space
from data.engineconfig import EngineConfig, RayConfig
from data.executors.pipeline import QUIET_RANK, TaskStep, be_quiet, crash_line

GIB = 1 << 30
# Tasks exchange files, not objects: the smallest store that Ray takes comfortably.
OBJECT_STORE_BYTES = 100 << 20
LOOPBACK = "127.0.0.1"


class RayExecutor(RayPipelineExecutor):  # type: ignore[misc]
    """datatrove's Ray executor for one rank at a time."""

    def run_rank(self, rank: int) -> None:
        """Do one task in this process; logs and statistics go to the job's folder, as it is shared."""
        with minding_space(self.pipeline[0].job):
            PipelineExecutor._run_for_rank(self, rank, QUIET_RANK)


def execute(job: Job, tasks: list[int], engine: EngineConfig, advance: Callable[[int], None]) -> None:
    """Do tasks as tasks of Ray, at most `data.workers` at a time."""
    be_quiet()
    ray = _connect(engine)
    executor = RayExecutor([TaskStep(job)], tasks=job.tasks, logging_dir=str(job.engine_folder), skip_completed=False)
    memory = int(engine.ray.memory_per_task_gb * GIB) or None
    remote = ray.remote(_do).options(num_cpus=engine.ray.cpus_per_task, memory=memory, max_retries=0)
    waiting = iter(tasks)
    running: dict[Any, int] = {}
    try:
        for task in islice(waiting, engine.workers):
            running[remote.remote(executor, str(Path.cwd()), task)] = task
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            _take(ray, ended, job, running.pop(ended))
            advance(1)
            for task in islice(waiting, 1):
                running[remote.remote(executor, str(Path.cwd()), task)] = task
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _do(executor: RayExecutor, folder: str, task: int) -> ProjectError | None:
    """Do a task in a process of Ray. An error of ours is returned, so that it comes back as it is."""
    os.chdir(folder)
    be_quiet()
    try:
        executor.run_rank(task)
    except ProjectError as error:
        return error
    return None


def _take(ray: Any, ended: Any, job: Job, task: int) -> None:
    try:
        error = ray.get(ended)
    except ray.exceptions.RayTaskError as crash:
        raise ProjectError(crash_line(job, task, crash.cause)) from crash
    except ray.exceptions.RayError as lost:
        raise RetryError(
            f"task {task} of {job.step.name} was lost ({type(lost).__name__}): its process was killed, perhaps for "
            "want of memory, or its node is gone; run the same command again"
        ) from lost
    if error is not None:
        raise error


def _connect(engine: EngineConfig) -> Any:
    """Ray's module, connected to the cluster. Raises ConfigError if it is not there or too small for a task."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise ConfigError("data.executor is ray, but Ray is not installed; install the extra `ray`") from error
    if not ray.is_initialized():
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
        try:
            ray.init(**_address(engine), **quiet, runtime_env=environment)
        except ConnectionError as error:
            raise ConfigError(f"no Ray answers at data.ray.address {engine.ray.address}: {error}") from error
    _check_room(ray, engine.ray)
    return ray


def _address(engine: EngineConfig) -> dict[str, Any]:
    if engine.ray.address:
        return {"address": engine.ray.address}
    cpus = engine.workers * engine.ray.cpus_per_task
    ours = {"address": "local", "_node_ip_address": LOOPBACK}
    return {**ours, "num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}


def _check_room(ray: Any, config: RayConfig) -> None:
    """Ray would wait for ever for a node that is large enough."""
    rooms = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(
        room.get("CPU", 0) >= config.cpus_per_task and room.get("memory", 0) >= config.memory_per_task_gb * GIB
        for room in rooms
    ):
        raise ConfigError(
            f"no node of this Ray has {config.cpus_per_task} CPUs and {config.memory_per_task_gb} GB for a task; "
            "lower data.ray.cpus_per_task or data.ray.memory_per_task_gb"
        )
