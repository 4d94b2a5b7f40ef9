"""Verbs `render` and `submit`: a recipe as a job for someone else's scheduler, and that job handed in."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.arguments import take
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load
from core.errors import ConfigError, RetryError
from launch.check import absolute
from launch.config import LaunchConfig
from launch.excluded import excluded
from launch.renderers import kubernetes, local, scripts, skypilot, slurm
from launch.renderers.config import Target
from launch.renderers.job import Job


@dataclass(frozen=True, slots=True)
class Renderer:
    """What makes the text, what its file is called, and what hands it in (nothing: a person starts it)."""

    render: Callable[[Job], str]
    suffix: str
    submit: Sequence[str] = ()


RENDERERS: Mapping[Target, Renderer] = {
    Target.LOCAL: Renderer(local.render, ".sh"),
    Target.TORCHRUN: Renderer(scripts.torchrun, ".sh"),
    Target.DEEPSPEED: Renderer(scripts.deepspeed, ".sh"),
    Target.SLURM: Renderer(slurm.render, ".sh", ("sbatch", "--parsable")),
    Target.K8S_JOBSET: Renderer(kubernetes.jobset, ".yaml", ("kubectl", "create", "-f")),
    Target.K8S_TRAINJOB: Renderer(kubernetes.trainjob, ".yaml", ("kubectl", "create", "-f")),
    Target.SKYPILOT: Renderer(skypilot.render, ".yaml", ("sky", "jobs", "launch", "--yes", "--detach-run")),
}


def render_main(arguments: list[str]) -> None:
    """`RECIPE [launch=TARGET] [--out FILE] [key=value ...]`: write the job to standard output, or to a file."""
    options, rest = take(arguments, values=("--out",))
    _, text = render(*recipe_and_overrides(rest, "python -m launch render"))
    if "--out" in options:
        Path(options["--out"]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def submit_main(arguments: list[str]) -> None:
    """`RECIPE [launch=TARGET] [--dry-run] [key=value ...]`: hand the job in; what the scheduler answers is written.

    Raises ConfigError if the target has no scheduler or its command is not here, RetryError if it refuses.
    """
    options, rest = take(arguments, flags=("--dry-run",))
    job, text = render(*recipe_and_overrides(rest, "python -m launch submit"))
    renderer = RENDERERS[job.config.target]
    path = Path(job.out) / f"{job.name}-{job.config.target.value}{renderer.suffix}"
    command = [*renderer.submit, str(path)]
    if not renderer.submit:
        raise ConfigError(f"launch.target {job.config.target.value} has no scheduler; write the script with render")
    if "--dry-run" in options:
        sys.stderr.write(f"would write {path} and run: {shlex.join(command)}\n")
        sys.stdout.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {command[0]} here; run this where it is installed: {shlex.join(command)}"
        ) from (error)
    if done.returncode:
        raise RetryError(f"{command[0]} refused {path}: {' '.join(done.stderr.split())[:300]}")
    sys.stdout.write(done.stdout)


def render(recipe: str, overrides: Sequence[str]) -> tuple[Job, str]:
    """The job of a recipe, and its text."""
    job = job_of(recipe, overrides)
    return job, RENDERERS[job.config.target].render(job)


def job_of(recipe: str, overrides: Sequence[str]) -> Job:
    """Read from a recipe what a job needs to know."""
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "launch", LaunchConfig, overrides)
    # Nodes find everything from the checkout that is theirs.
    workdir = ROOT / config.cluster.workdir
    config = replace(config, cluster=replace(config.cluster, workdir=str(workdir)))
    out = workdir / (run.out if run.out != Path() else Path("runs") / run.name)
    nodes = excluded(out, now=time.time())
    return Job(name=run.name, recipe=absolute(recipe), overrides=overrides, out=str(out), config=config, excluded=nodes)
