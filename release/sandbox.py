"""Confines the processes that run a bundle's code, as far as a plain process can be confined without being root.

    environment   a short list of variables and what stages need; no proxies, tokens or keys; HOME and TMPDIR in a
                  folder that is removed afterwards
    limits        of memory (all of this machine's), of a file's size, of CPU time; no core dumps (setrlimit(2))
    namespaces    where the kernel permits them to everybody (user_namespaces(7)): no network but its own loopback, and
                  every file of the machine read-only, the bundle's too, but for that folder and the answer's

It is no virtual machine: the code may read what its user may read, take all processors, and use what the kernel gets
wrong. Where namespaces are not permitted, nothing but the environment keeps it from the network: `describe` says so.
"""

import ctypes
import fcntl
import os
import resource
import socket
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KEPT = ("PATH", "TZ", "LANG", "VIRTUAL_ENV", "CXX")
KEPT_FAMILIES = (
    "LC_",
    "LD_",
    "PYTHON",
    "CUDA_",
    "NVIDIA_",
    "WHOLEGRAIN_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "ATEN_",
    "GLIBC_",
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "*"}
MAX_FILE_BYTES = 1 << 38
MAX_CPU_S = 7 * 24 * 3600
# unshare(2), mount(2), mount_setattr(2), netdevice(7).
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40


@dataclass(frozen=True, slots=True)
class MountAttributes:
    """What mount_setattr(2) sets and clears."""

    set: int = 0
    clear: int = 0

    def pack(self) -> bytes:
        """As the kernel reads it."""
        return struct.pack("<4Q", self.set, self.clear, 0, 0)


def environment(given: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables of a confined process."""
    kept = {name: value for name, value in given.items() if name in KEPT or name.startswith(KEPT_FAMILIES)}
    return {**kept, **OFFLINE, "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / ".cache")}


def confine(*writable: Path) -> None:
    """Confine the calling process, which is a child that has not become its program yet; it may write below `writable`.

    The limits always hold; namespaces where they are permitted.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = {"RLIMIT_DATA": memory, "RLIMIT_FSIZE": MAX_FILE_BYTES, "RLIMIT_CPU": MAX_CPU_S, "RLIMIT_CORE": 0}
    for name, most in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    try:
        _separate(*writable)
    except OSError:
        # Not permitted here, or another kernel: `describe` tells it.
        return


def describe() -> str:
    """What confines code on this machine, in one sentence."""
    with tempfile.TemporaryDirectory(prefix="wholegrain-sandbox-") as folder:
        # The link names the network namespace. The last thing that is done there is to make files read-only.
        command = ["sh", "-c", f"readlink /proc/self/ns/net; : > '{folder}/probe'"]
        done = subprocess.run(command, preexec_fn=confine, capture_output=True, text=True, check=False)
        is_separate = done.stdout.strip() != str(Path("/proc/self/ns/net").readlink()) and done.returncode != 0
    if is_separate:
        return (
            "sandbox: code ran without network, on files that it could not write, under limits of memory and CPU time; "
            "cannot catch: flaws of the kernel, and what is learned by reading this user's files"
        )
    return (
        "sandbox: code ran under limits of memory and CPU time, but this system permits no namespaces; cannot catch: "
        "what it did over the network and to this user's files"
    )


def _separate(*writable: Path) -> None:
    """Enter namespaces of users, network and mounts of one's own. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    _check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS))
    for name, content in {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}.items():
        Path("/proc/self", name).write_text(content, encoding="ascii")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP | IFF_RUNNING))
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    for folder in writable:
        path = os.fsencode(folder)
        _check(libc.mount(path, path, None, MS_BIND | MS_REC, None))
    _set_attributes(libc, b"/", MountAttributes(set=MOUNT_ATTR_RDONLY), flags=AT_RECURSIVE)
    for folder in writable:
        _set_attributes(libc, os.fsencode(folder), MountAttributes(clear=MOUNT_ATTR_RDONLY), flags=0)


def _set_attributes(libc: ctypes.CDLL, path: bytes, attributes: MountAttributes, *, flags: int) -> None:
    packed = attributes.pack()
    _check(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path, flags, packed, len(packed)))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
