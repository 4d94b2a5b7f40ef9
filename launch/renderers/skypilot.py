"""A task for SkyPilot's managed jobs, which bring up another cluster when one is lost and start the task again.

Exit code 75 starts it again where it stands; 64, 65 and 66 end it. Field names: SkyPilot's own YAML reference of 2026.
"""

import shlex
from pathlib import PurePosixPath
from typing import Any

from core.errors import ConfigError, RetryError
from launch.renderers.job import Job

MEET = '"$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"'


def render(job: Job) -> str:
    """The task, to be given to `sky jobs launch`."""
    import yaml

    cluster, sky = job.config.cluster, job.config.cluster.skypilot
    if not sky.volume:
        raise ConfigError("launch.cluster.skypilot.volume is empty; name a volume that all nodes mount")
    if not PurePosixPath(job.out).is_relative_to(sky.mount):
        raise ConfigError(f"run.out is {job.out}, which nodes do not share; put it below {sky.mount} (the volume)")
    recovery = {"max_restarts_on_errors": sky.max_restarts, "recover_on_exit_codes": [RetryError.exit_code]}
    resources: dict[str, Any] = {
        "infra": sky.infra,
        "accelerators": sky.accelerators,
        "image_id": sky.image,
        "use_spot": sky.use_spot,
        "job_recovery": recovery,
    }
    command = shlex.join([cluster.python, "-m", "launch", "node", *job.arguments])
    task = {
        "name": job.name,
        "workdir": cluster.workdir,
        "num_nodes": job.config.nodes,
        "resources": {name: value for name, value in resources.items() if value != ""},
        "envs": job.environment,
        "volumes": {sky.mount: sky.volume},
        "setup": sky.setup,
        "run": f"{command} --meet={MEET}:{cluster.port}",
    }
    text: str = yaml.safe_dump({name: value for name, value in task.items() if value}, sort_keys=False, width=1000)
    return text
