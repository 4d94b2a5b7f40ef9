"""Addresses of a machine: the one at which others reach it, and the network interface that has it (IPv4)."""

import fcntl
import os
import socket
import struct

from core.errors import ConfigError

# ioctl(2) number of netdevice(7); the address stands in bytes 20 to 23 of a struct ifreq.
SIOCGIFADDR = 0x8915
IFREQ = struct.Struct("256s")
ADDRESS = slice(20, 24)


def split(address: str) -> tuple[str, int]:
    """`HOST` or `HOST:PORT` as host and port; port 0 is any. Raises ConfigError."""
    host, colon, port = address.partition(":")
    if not host or (colon and not port.isdecimal()):
        raise ConfigError(f"launch.address is {address!r}; give HOST or HOST:PORT")
    return host, int(port or 0)


def own_name() -> str:
    """What this machine is called: Slurm's name of the node, else the host's."""
    return os.environ.get("SLURMD_NODENAME", "") or socket.gethostname()


def address_towards(host: str) -> str:
    """This machine's address on the way to another; nothing is sent. Raises OSError if there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 1))
        found: str = probe.getsockname()[0]
        return found


def interface_of(address: str) -> str:
    """The interface that has an address. Raises ConfigError if none has: others could not reach its ranks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, IFREQ.pack(name.encode()))
            except OSError:
                # An interface without an address.
                continue
            if socket.inet_ntoa(found[ADDRESS]) == address:
                return name
    raise ConfigError(f"no interface of this machine has the address {address}; give one that has as --host=ADDRESS")
