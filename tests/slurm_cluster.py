"""A real Slurm on this machine: Debian's slurmctld, and a slurmd for every node, in a folder of their own.

Needs root and `apt-get install --no-install-recommends slurm-wlm munge`. Nothing of the machine's own configuration is
read or changed: configuration, key, sockets and ports are the cluster's own, and its daemons are our children.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.data.processes import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={credential_s}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=1
KillWait=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdTimeout={patience_s}
{nodes}
PartitionName=test Nodes=ALL Default=YES State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000"


def why_not() -> str:
    """Why there can be no cluster here; empty if there can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"{absent[0]} is not installed; apt-get install --no-install-recommends slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a cluster's daemons need root"


@contextmanager
def slurm_cluster(*, nodes: int, patience_s: int = 300, credential_s: int = 120) -> Iterator[Mapping[str, str]]:
    """Bring up a cluster, with nodes n1, n2, ... of one CPU; gives the environment in which its commands find it.

    A node that is silent for `patience_s` is down; a job that is queued again waits for `credential_s` first. Both are
    Slurm's defaults, and too long for tests in which nodes die.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    # munged, which runs as a user of its own, wants to reach its folder; tmp_path is closed to others
    folder.chmod(0o755)
    names = [f"n{number + 1}" for number in range(nodes)]
    config = _configure(folder, names, patience_s=patience_s, credential_s=credential_s)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    try:
        with ExitStack() as running:
            running.enter_context(_munge(folder / "munge"))
            running.enter_context(_daemon(["slurmctld", "-D", "-f", str(config)], environment))
            for name in names:
                running.enter_context(_daemon(["slurmd", "-D", "-f", str(config), "-N", name], environment))
            until(lambda: _idle(environment) == nodes)
            yield environment
            subprocess.run(["scancel", "--user=root"], env=environment, check=False)
            until(lambda: not _said(["squeue", "-h"], environment))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kill_node(environment: Mapping[str, str], name: str) -> None:
    """Take a node away as a power cut would: its daemon and every process that it has started get SIGKILL."""
    mark, config = f"SLURMD_NODENAME={name}".encode(), environment["SLURM_CONF"].encode()
    killed: set[int] = set()
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        words = _read(pid, "cmdline").split(b"\0")
        is_daemon = words[:1] == [b"slurmd"] and config in words and name.encode() in words
        if is_daemon or (mark in _read(pid, "environ").split(b"\0") and config in _read(pid, "environ")):
            killed |= {pid, *_step_daemon(pid)}
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _step_daemon(pid: int) -> list[int]:
    # The parent of a task is the daemon of its step, which carries no mark.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return [int(fields[1])] if fields and _read(int(fields[1]), "cmdline").startswith(b"slurmstepd") else []


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _configure(folder: Path, names: list[str], *, patience_s: int, credential_s: int) -> Path:
    host = socket.gethostname().partition(".")[0]
    controller, *ports = _free_ports(len(names) + 1)
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(names, ports, strict=True)]
    for name in ("state", *names):
        (folder / name).mkdir()
    path = folder / "slurm.conf"
    places = {"folder": folder, "host": host, "nodes": "\n".join(nodes)}
    path.write_text(CONFIG.format(**places, controller=controller, patience_s=patience_s, credential_s=credential_s))
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    user = pwd.getpwnam("munge")
    folder.mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    for path in (folder, folder / "key"):
        os.chown(path, user.pw_uid, user.pw_gid)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    command = ["munged", "--foreground", *options]
    with _daemon(command, dict(os.environ), user=user.pw_uid, group=user.pw_gid):
        until((folder / "socket").exists)
        yield


@contextmanager
def _daemon(
    command: list[str], environment: Mapping[str, str], *, user: int | None = None, group: int | None = None
) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, user=user, group=group)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _idle(environment: Mapping[str, str]) -> int:
    return int(_said(["sinfo", "-h", "-t", "idle", "-o", "%D"], environment) or 0)


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()
