"""A run on this machine, as the command that makes it."""

import shlex

from launch.renderers.job import Job, exports


def render(job: Job) -> str:
    """A script of one command."""
    cluster = job.config.cluster
    command = shlex.join([cluster.python, "-m", "launch", "run", *job.arguments])
    lines = ["#!/bin/bash", "set -euo pipefail", exports(job.environment), f"cd {shlex.quote(cluster.workdir)}"]
    return "\n".join([*(line for line in lines if line), f"exec {command}", ""])
