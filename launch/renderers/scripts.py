"""Scripts for nodes without a scheduler: torchrun's agent on every node, or DeepSpeed's launcher on the first."""

from collections.abc import Mapping, Sequence

from core.errors import ConfigError
from launch.renderers.job import FATAL_CODES, Job, exports, script

# The entry point that pip installs as `deepspeed`.
DEEPSPEED = "from deepspeed.launcher.runner import main; main()"


def torchrun(job: Job) -> str:
    """A script that is run on every node."""
    return script(_header(job), variables=_common(job), bodies=["torchrun.sh"])


def deepspeed(job: Job) -> str:
    """A script that is run on the first node."""
    config = job.config
    variables = {
        **_common(job),
        "name": job.name,
        "out": job.out,
        "hosts": [f"{host} slots={config.ranks_per_node}" for host in _hosts(job)],
        "environment": [f"{name}={value}" for name, value in job.environment.items()],
        "runner": DEEPSPEED,
        # To a single node no ssh is needed.
        "options": ["--no_ssh_check"] if config.nodes == 1 else [],
        "fatal_codes": "|".join(map(str, FATAL_CODES)),
        "grace_s": 2,
        "start_s": round(config.start_s),
        "stall_s": round(config.stall_s),
    }
    return script(_header(job), variables=variables, bodies=["words.sh", "deepspeed.sh", "loop.sh"])


def _header(job: Job) -> str:
    return "\n".join(["#!/bin/bash", "set -uo pipefail", exports(job.environment)]).rstrip()


def _common(job: Job) -> Mapping[str, str | int | Sequence[str]]:
    cluster = job.config.cluster
    return {
        "workdir": cluster.workdir,
        "python": cluster.python,
        "arguments": job.arguments,
        "meet": _hosts(job)[0],
        "port": cluster.port,
    }


def _hosts(job: Job) -> Sequence[str]:
    cluster, nodes = job.config.cluster, job.config.nodes
    hosts = [host for host in cluster.hosts if host not in job.excluded]
    if len(hosts) < nodes:
        raise ConfigError(
            f"launch.cluster.hosts names {len(hosts)} nodes that are not in quarantine, launch.nodes asks for {nodes}; "
            "name them all"
        )
    return hosts[:nodes]
