"""Machines with a network between them, as network namespaces of this one, joined by a bridge.

The bridge is in a namespace of its own, which has the last address: a machine that does not train. What is cut is cut
for real: packets are dropped by iptables, or the link is taken down. Needs root, iproute2 and iptables.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

NETWORK, OUTSIDE = "10.77.0", 254
LINK = "eth0"


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    absent = [name for name in ("ip", "iptables") if not shutil.which(name)]
    if absent:
        return f"{absent[0]} is not installed; apt-get install --no-install-recommends iproute2 iptables"
    try:
        with machines(1) as (one, _):
            one.drop()
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr.strip()}"
    return ""


@dataclass(frozen=True)
class Machine:
    """A namespace; `name` is that of the machine, `address` the one that others reach it at."""

    name: str
    namespace: str
    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """A command as it is started on that machine."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def drop(self) -> None:
        """Lose every packet from and to others, without a word to anybody."""
        for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
            run(self.command(["iptables", "-A", chain, side, LINK, "-j", "DROP"]))

    def heal(self) -> None:
        """Lose no more."""
        run(self.command(["iptables", "-F"]))

    def dropped(self) -> int:
        """How many packets have been lost since `drop`."""
        listed = run(self.command(["iptables", "-L", "-v", "-n", "-x"])).splitlines()
        return sum(int(line.split()[0]) for line in listed if "DROP" in line and line.split()[0].isdecimal())

    def unplug(self) -> None:
        """Pull the cable."""
        run(["ip", "-n", self.namespace, "link", "set", LINK, "down"])


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines n0, n1, ..., and behind them the one that does not train."""
    mark = f"wg{os.getpid()}"
    made = [Machine(f"n{at}", f"{mark}-n{at}", f"{NETWORK}.{at + 1}") for at in range(count)]
    outside = Machine("outside", f"{mark}-outside", f"{NETWORK}.{OUTSIDE}")
    try:
        for machine in (*made, outside):
            run(["ip", "netns", "add", machine.namespace])
            run(["ip", "-n", machine.namespace, "link", "set", "lo", "up"])
        hub = outside.namespace
        run(["ip", "-n", hub, "link", "add", "bridge", "type", "bridge"])
        run(["ip", "-n", hub, "addr", "add", f"{outside.address}/24", "dev", "bridge"])
        run(["ip", "-n", hub, "link", "set", "bridge", "up"])
        for machine in made:
            port = f"to-{machine.name}"
            ends = [LINK, "netns", machine.namespace, "type", "veth", "peer", "name", port, "netns", hub]
            run(["ip", "link", "add", *ends])
            run(["ip", "-n", hub, "link", "set", port, "master", "bridge", "up"])
            run(["ip", "-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", LINK])
            run(["ip", "-n", machine.namespace, "link", "set", LINK, "up"])
        yield [*made, outside]
    finally:
        for machine in (*made, outside):
            subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True, check=False)


def run(command: Sequence[str]) -> str:
    """What a command writes. Raises CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
