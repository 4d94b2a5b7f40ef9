"""A batch script for Slurm that recovers: measured on Slurm 22.05 (docs/launch.md).

requeue, open-mode=append   the second line of defence: the node of this script itself is lost
no-kill, spare nodes        the first: the allocation outlives a node, and the keepers go on with the rest
signal                      told before the time is over, the job stops at a step and queues itself again
the run's own artifact      is what success is judged by
"""

from collections.abc import Mapping, Sequence

from launch.renderers.job import FATAL_CODES, Job, exports, script

BODIES = ("words.sh", "slurm.sh")


def render(job: Job) -> str:
    """The script, to be given to sbatch."""
    config, cluster, slurm = job.config, job.config.cluster, job.config.cluster.slurm
    asked = {
        "job-name": job.name,
        "nodes": config.nodes + config.spares,
        "ntasks-per-node": config.ranks_per_node,
        "cpus-per-task": slurm.cpus_per_rank,
        "gpus-per-node": slurm.gpus_per_node,
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.time,
        "exclude": ",".join(job.excluded),
        "output": f"{job.out}/slurm-%j.log",
        "open-mode": "append",
        "signal": f"B:USR1@{slurm.warn_s}",
    }
    options = [f"--{name}={value}" for name, value in asked.items() if value]
    lines = [f"#SBATCH {option}" for option in [*options, "--requeue", "--no-kill", "--exclusive", *slurm.options]]
    variables: Mapping[str, str | int | Sequence[str]] = {
        "workdir": cluster.workdir,
        "python": cluster.python,
        "arguments": job.arguments,
        "out": job.out,
        "nodes": config.nodes,
        "min_nodes": config.min_nodes,
        # All that the job has there, if it is not said.
        "cpus": str(config.ranks_per_node * slurm.cpus_per_rank or ""),
        "address": config.address,
        "fatal_codes": "|".join(map(str, FATAL_CODES)),
        "probe_s": slurm.probe_s,
        "headless_s": slurm.headless_s,
    }
    header = "\n".join(["#!/bin/bash", *lines, "", "set -uo pipefail", exports(job.environment)]).rstrip()
    return script(header, variables=variables, bodies=BODIES)
