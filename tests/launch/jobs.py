"""The jobs of tests/launch/golden/: `python -m tests.launch.jobs` writes them anew."""

from pathlib import Path

from launch.render import RENDERERS, render
from launch.renderers.config import Target

GOLDEN = Path(__file__).parent / "golden"
# Nothing of this machine: the checkout, the run's folder and the Python of a cluster.
COMMON = [
    "run.out=/shared/runs/smoke",
    "launch.cluster.workdir=/opt/wholegrain",
    "launch.cluster.python=/opt/python/bin/python",
    "launch.cluster.environment={NCCL_SOCKET_IFNAME: eth0, NOTE: 'it is 1 node'}",
]


def rendered(target: Target, *overrides: str) -> str:
    """The smoke recipe as a job for a target."""
    return render("smoke", [f"launch={target.value}", *COMMON, *overrides])[1]


def path_of(target: Target) -> Path:
    """The golden file of a target."""
    return GOLDEN / f"{target.value}{RENDERERS[target].suffix}"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for one in Target:
        path_of(one).write_text(rendered(one), encoding="utf-8")
