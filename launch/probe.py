"""Verb `probe`: one node's part of the preflight, started by it: looks at the node, then serves the network check.

Writes what it found to `<folder>/node-<N>.json`, with the port at which it listens. Requests are lines of JSON that
carry the folder's token:
    clock      its time
    echo       as many bytes as follow, sent back as they came
    exchange   the same asked of another node: seconds for there and back, and whether all bytes came back as they were
    end        the probe ends
"""

import json
import os
import resource
import shutil
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, cast

from core.arguments import take
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load
from core.durable import write_durably
from core.errors import ConfigError
from launch.config import LaunchConfig
from launch.preflightconfig import PreflightConfig

MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
TOKEN = "token"
FSYNCS = 9
BLOCK = 65_536
PASSPORT = "passport"
# Verbs of stages whose answer must be the same on every node.
ANSWERS = {
    "fingerprint": ("train", "fingerprint"),
    # Ends with an error where the node's ranks cannot fit into its memory.
    "plan": ("train", "plan", "--json"),
    "burn": ("train", "burn"),
    PASSPORT: ("train", "passport"),
}
Answer = dict[str, Any]


def main(arguments: list[str]) -> None:
    """`RECIPE --folder=F [--node=N] [key=value ...]`: look, tell, and serve until the preflight ends it."""
    options, rest = take(arguments, values=("--folder", "--node"))
    recipe, overrides = recipe_and_overrides(rest, "python -m launch probe")
    node = options.get("--node", os.environ.get("SLURM_NODEID", ""))
    if "--folder" not in options or not node.isdecimal():
        raise ConfigError("python -m launch probe is started by python -m launch preflight")
    folder = Path(options["--folder"])
    config = load(recipe, "launch", LaunchConfig, overrides)
    out = load(recipe, "run", RunConfig, overrides).out_folder
    with Server(token=(folder / TOKEN).read_text(), timeout_s=config.preflight.timeout_s) as server:
        found = look(out, config.preflight)
        found["answers"] = answers([recipe, *overrides], config)
        address = {"node": int(node), "host": own_address(), "port": server.server_address[1]}
        write_durably(folder / f"node-{node}.json", json.dumps({**address, **found}).encode())
        server.serve_until_ended()


def own_address() -> str:
    """The address at which other nodes reach this one; 127.0.0.1 where the name of the machine has none."""
    name = os.environ.get("SLURMD_NODENAME", "") or socket.gethostname()
    try:
        return socket.gethostbyname(name)
    except OSError:
        return "127.0.0.1"


def look(out: Path, config: PreflightConfig) -> Answer:
    """What this node has: memory, shared memory, disk, limits."""
    out.mkdir(parents=True, exist_ok=True)
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    available_kb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return {
        "name": os.environ.get("SLURMD_NODENAME", "") or socket.gethostname(),
        "memory_gb": available_kb * 1024 / GIGABYTE,
        "shm_gb": shutil.disk_usage("/dev/shm").free / GIGABYTE,
        "disk_gb": shutil.disk_usage(out).free / GIGABYTE,
        **try_disk(out, megabytes=config.disk_mb),
        "files": _limit(resource.RLIMIT_NOFILE),
        "processes": _limit(resource.RLIMIT_NPROC),
    }


def _limit(kind: int) -> int:
    soft, _ = resource.getrlimit(kind)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def try_disk(folder: Path, *, megabytes: int) -> Answer:
    """How fast a file is written and forced to the disk, and how long forcing a small one takes (the median)."""
    path = folder / f".preflight-{socket.gethostname()}-{os.getpid()}"
    block = Random(0).randbytes(MEGABYTE)
    try:
        with path.open("wb", buffering=0) as stream:
            began = time.perf_counter()
            for _ in range(megabytes):
                stream.write(block)
            os.fsync(stream.fileno())
            seconds = time.perf_counter() - began
            waits = []
            for _ in range(FSYNCS):
                stream.write(block[:4096])
                began = time.perf_counter()
                os.fsync(stream.fileno())
                waits.append(time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)
    return {"disk_mb_per_s": megabytes / seconds, "fsync_ms": 1000 * median(waits)}


def answers(arguments: Sequence[str], config: LaunchConfig) -> dict[str, list[str]]:
    """What the verbs of stages say, a burn once a rank and all at once; an error's last line where one fails."""
    ranks = {"burn": max(config.ranks_per_node, 1)}
    extra = {"burn": [f"--rounds={config.preflight.burn_rounds}"]}
    started = {
        check: [_start([*command, *arguments, *extra.get(check, [])]) for _ in range(ranks.get(check, 1))]
        for check, command in ANSWERS.items()
        if check != PASSPORT or config.preflight.is_passport_asked
    }
    return {check: [_said(one) for one in processes] for check, processes in started.items()}


def _start(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _said(process: "subprocess.Popen[str]") -> str:
    stdout, stderr = process.communicate()
    return stdout.strip() if process.returncode == 0 else (stderr.strip().splitlines() or ["it said nothing"])[-1]


class Server(socketserver.ThreadingTCPServer):
    """Answers requests until it is told to end, or until nobody has come for `timeout_s`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, token: str, timeout_s: float) -> None:
        super().__init__(("", 0), Handler)
        self.token, self.timeout = token, 0.1
        self.is_ended, self.patience_s = False, timeout_s
        self.last = time.monotonic()

    def serve_until_ended(self) -> None:
        """Serve."""
        while not self.is_ended and time.monotonic() - self.last < self.patience_s:
            self.handle_request()


class Handler(socketserver.StreamRequestHandler):
    """One request."""

    def handle(self) -> None:
        """Answer it; a caller without the token gets none."""
        server = cast(Server, self.server)
        request = json.loads(self.rfile.readline(BLOCK) or b"{}")
        if request.get("token") != server.token:
            return
        server.last = time.monotonic()
        answer: Answer = {}
        if request["do"] == "clock":
            answer = {"time": time.time()}
        elif request["do"] == "echo":
            self.wfile.write(self.rfile.read(request["bytes"]))
            return
        elif request["do"] == "exchange":
            answer = exchange(request["host"], request["port"], token=server.token, size=request["bytes"])
        elif request["do"] == "end":
            server.is_ended = True
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def ask(host: str, port: int, request: Answer, *, timeout_s: float) -> Answer:
    """Send a probe a request; returns its answer. Raises OSError if it cannot be reached."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer: Answer = json.loads(stream.readline() or b"{}")
    return answer


def exchange(host: str, port: int, *, token: str, size: int, timeout_s: float = 30.0) -> Answer:
    """Send another probe bytes, which it sends back: megabytes a second, and what went wrong, if anything did."""
    content = Random(size).randbytes(size)
    began = time.perf_counter()
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(json.dumps({"token": token, "do": "echo", "bytes": size}).encode() + b"\n" + content)
            with connection.makefile("rb") as stream:
                back = stream.read(size)
    except OSError as error:
        return {"mb_per_s": 0.0, "fault": str(error)}
    seconds = time.perf_counter() - began
    fault = "" if back == content else "what came back is not what was sent"
    return {"mb_per_s": 2 * size / MEGABYTE / seconds, "fault": fault}


def tell_to_end(host: str, port: int, *, token: str) -> None:
    """End a probe, if it is still there."""
    with suppress(OSError):
        ask(host, port, {"token": token, "do": "end"}, timeout_s=5.0)
