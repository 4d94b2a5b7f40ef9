"""A task for SkyPilot's managed jobs, which bring up another cluster when one is lost and start the task again.

Several nodes are kept (docs/recovery.md), the coordinator on the first one, its journal on the volume: a rank that
dies or hangs costs a second, and no new cluster. A lost node does cost one: SkyPilot ends the processes of all other
nodes and takes the whole cluster down, so spares would only wait; they are refused.

Exit codes 75 and 143 start the task again where it stands, anything else ends it. Field names: SkyPilot's own YAML
reference of 2026; SkyPilot counts no other restarts for codes that are named, and none else with a count of 0.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from core.errors import ConfigError, Preempted, RetryError
from launch.renderers.job import Job, script


def render(job: Job) -> str:
    """The task, to be given to `sky jobs launch`."""
    import yaml

    cluster, sky = job.config.cluster, job.config.cluster.skypilot
    if not sky.volume:
        raise ConfigError("launch.cluster.skypilot.volume is empty; name a volume that all nodes mount")
    if not PurePosixPath(job.out).is_relative_to(sky.mount):
        raise ConfigError(f"run.out is {job.out}, which nodes do not share; put it below {sky.mount} (the volume)")
    if job.config.spares:
        raise ConfigError(
            f"launch.spares is {job.config.spares}, but SkyPilot ends all nodes when it loses one, so that a spare is "
            "of no use; give launch.spares=0"
        )
    codes = [RetryError.exit_code, Preempted.exit_code]
    resources: dict[str, Any] = {
        "infra": sky.infra,
        "accelerators": sky.accelerators,
        "image_id": sky.image,
        "use_spot": sky.use_spot,
        "job_recovery": {"max_restarts_on_errors": sky.max_restarts, "recover_on_exit_codes": codes},
    }
    task = {
        "name": job.name,
        "workdir": cluster.workdir,
        "num_nodes": job.config.nodes,
        "resources": {name: value for name, value in resources.items() if value != ""},
        "envs": job.environment,
        "volumes": {sky.mount: sky.volume},
        "setup": sky.setup,
        "run": _kept(job) if job.is_kept else _single(job),
    }
    given = {name: value for name, value in task.items() if value}
    text: str = yaml.dump(given, Dumper=_dumper(), sort_keys=False, width=1000)
    return text


def _single(job: Job) -> str:
    return shlex.join([job.config.cluster.python, "-m", "launch", "node", *job.arguments])


def _kept(job: Job) -> str:
    cluster = job.config.cluster
    variables: Mapping[str, str | int | Sequence[str]] = {
        "python": cluster.python,
        "arguments": job.arguments,
        "port": cluster.port,
    }
    return script("set -uo pipefail", variables=variables, bodies=["skypilot.sh"])


def _dumper() -> Any:
    """YAML's own, which writes text of several lines as such."""
    import yaml

    class Lines(yaml.SafeDumper):
        """With blocks of text."""

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Lines.add_representer(str, block)
    return Lines
