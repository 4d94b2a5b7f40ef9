"""Pods and nodes of a rendered job as processes on machines of namespaces.py: what kubelet and SkyPilot would start.

A pod's process is the first of a process namespace of its own, as in a container; `kill` takes all of it at once. What
a pod is told of itself is what Kubernetes documents (downward API, $(NAME) and $$ in a command) and JobSet adds.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.drills.machines import Machine


@dataclass
class Pod:
    """A container's process, and the machine that it is on."""

    machine: Machine
    process: "subprocess.Popen[str]"

    def kill(self) -> None:
        """End all that runs in it."""
        self.process.kill()
        self.process.wait()


def start(machine: Machine, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Pod:
    """Start a command as the first process of a container on a machine."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            machine.command(alone),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=stream,
            stderr=stream,
        )
    return Pod(machine, process)


def start_pod(spec: Mapping[str, Any], machine: Machine, index: int, log: Path) -> Pod:
    """Start the container of a pod's specification."""
    (container,) = spec["containers"]
    fields = {"status.podIP": machine.address, "spec.nodeName": machine.name}
    told = {
        one["name"]: one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for one in container["env"]
    }
    command = ["env", f"--chdir={container['workingDir']}", *(expanded(word, told) for word in container["command"])]
    return start(machine, command, {**told, "JOB_COMPLETION_INDEX": str(index)}, log)


def expanded(word: str, environment: Mapping[str, str]) -> str:
    """A word of a container's command as Kubernetes reads it."""

    def read(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return environment.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", read, word)
