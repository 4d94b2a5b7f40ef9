"""Machines with a network between them, as network namespaces of this one, joined by a bridge.

The bridge is in a namespace of its own, which has the last address: a machine that does not train. What is cut is cut
for real: packets are dropped by iptables, or the link is taken down. Needs root, iproute2 and iptables.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

NETWORK, LAST = "10.77.0", 254
OUTSIDE = "outside"
NAMES, PREFIX = Path("/run/netns"), "wg"
LINK, BRIDGE = "eth0", "bridge"


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    absent = [name for name in ("ip", "iptables") if not shutil.which(name)]
    if absent:
        return f"{absent[0]} is not installed; apt-get install --no-install-recommends iproute2 iptables"
    try:
        with machines(1) as (one, _):
            one.drop()
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines() or [str(error)]
        return f"no network namespace can be made here: {said[0]}"
    return ""


@dataclass(frozen=True)
class Machine:
    """A namespace; `name` is that of the machine, `address` the one that others reach it at."""

    name: str
    namespace: str
    address: str
    link: str = LINK

    @property
    def prefix(self) -> list[str]:
        """What a command is started with to be on that machine."""
        return ["ip", "netns", "exec", self.namespace]

    def command(self, words: Sequence[str]) -> list[str]:
        """A command as it is started on that machine."""
        return [*self.prefix, *words]

    def drop(self, *, share: float = 1.0) -> None:
        """Lose every packet from and to others, or a share of them, without a word to anybody."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)] if share < 1 else []
        for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
            run(self.command(["iptables", "-A", chain, side, self.link, *chance, "-j", "DROP"]))

    def drop_between(self, other: "Machine") -> None:
        """Lose every packet from and to one other machine; third ones hear both."""
        for chain, end in (("INPUT", "-s"), ("OUTPUT", "-d")):
            run(self.command(["iptables", "-A", chain, end, other.address, "-j", "DROP"]))

    def heal(self) -> None:
        """Lose no more."""
        run(self.command(["iptables", "-F"]))

    def dropped(self) -> int:
        """How many packets have been lost since `drop`."""
        listed = run(self.command(["iptables", "-L", "-v", "-n", "-x"])).splitlines()
        return sum(int(line.split()[0]) for line in listed if "DROP" in line and line.split()[0].isdecimal())

    def unplug(self) -> None:
        """Pull the cable."""
        run(["ip", "-n", self.namespace, "link", "set", self.link, "down"])

    def plug_in(self) -> None:
        """Put the cable back."""
        run(["ip", "-n", self.namespace, "link", "set", self.link, "up"])


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines n0, n1, ..., and behind them the one that does not train; with a count of 0, none at all."""
    if not count:
        yield []
        return
    sweep()
    mark = f"{PREFIX}{os.getpid()}"
    made = [Machine(f"n{at}", f"{mark}-n{at}", f"{NETWORK}.{at + 1}") for at in range(count)]
    outside = Machine(OUTSIDE, f"{mark}-{OUTSIDE}", f"{NETWORK}.{LAST}", BRIDGE)
    try:
        for machine in (*made, outside):
            run(["ip", "netns", "add", machine.namespace])
            run(["ip", "-n", machine.namespace, "link", "set", "lo", "up"])
        hub = outside.namespace
        run(["ip", "-n", hub, "link", "add", BRIDGE, "type", "bridge"])
        run(["ip", "-n", hub, "addr", "add", f"{outside.address}/24", "dev", BRIDGE])
        run(["ip", "-n", hub, "link", "set", BRIDGE, "up"])
        for machine in made:
            port = f"to-{machine.name}"
            ends = [LINK, "netns", machine.namespace, "type", "veth", "peer", "name", port, "netns", hub]
            run(["ip", "link", "add", *ends])
            run(["ip", "-n", hub, "link", "set", port, "master", BRIDGE, "up"])
            run(["ip", "-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", LINK])
            run(["ip", "-n", machine.namespace, "link", "set", LINK, "up"])
        yield [*made, outside]
    finally:
        for machine in (*made, outside):
            subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True, check=False)


def sweep() -> None:
    """Take away what processes have left that were killed."""
    for name in (path.name for path in NAMES.glob(f"{PREFIX}*-*")):
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            # Its mount may have gone with the mounts of the process that was killed.
            with suppress(PermissionError):
                (NAMES / name).unlink(missing_ok=True)


def placed_on(made: Sequence[Machine]) -> list[str]:
    """Overrides by which `launch supervise`, started on the last one, has its nodes on the others."""
    if not made:
        return []
    node, outside = made[0], made[-1]
    any_node = replace(node, namespace=node.namespace.removesuffix(node.name) + "{node}")
    prefix = ",".join(map(json.dumps, any_node.prefix))
    return [f"launch.address={outside.address}", f"launch.node_prefix=[{prefix}]"]


def run(command: Sequence[str]) -> str:
    """What a command writes. Raises CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
