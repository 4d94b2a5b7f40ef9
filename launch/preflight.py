"""Verb `preflight`: every node is looked at before a run, so that a bad one costs minutes, not hours.

A probe a node (launch/probe.py): in an allocation of Slurm by srun, else as processes of this machine. They tell
through a folder that all nodes see, which also holds the token without which none answers; clocks and network are then
tried over TCP, the network in two rounds (launch/pairing.py).
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load
from core.errors import RetryError
from core.hashing import hash_value
from launch.check import absolute
from launch.config import LaunchConfig
from launch.local import STDERR
from launch.pairing import Pair, at_fault, first_round, second_round
from launch.preflightconfig import PreflightConfig
from launch.probe import MEGABYTE, TOKEN, ask, tell_to_end
from launch.table import columns

Facts = dict[str, Any]
POLL_S, GRACE_S = 0.1, 5.0
# The shortest of so many questions for the time is believed.
CLOCK_TRIES = 5
DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of one node: its short value, whether the node may train, and if not, why."""

    node: str
    check: str
    is_good: bool
    value: str
    told: str = ""


def main(arguments: list[str]) -> None:
    """`RECIPE [--json] [key=value ...]`: a table, or JSON. Raises RetryError naming the first node at fault."""
    options, rest = take(arguments, flags=("--json",))
    name, overrides = recipe_and_overrides(rest, "python -m launch preflight")
    recipe = absolute(name)
    config = load(recipe, "launch", LaunchConfig, overrides)
    out = load(recipe, "run", RunConfig, overrides).out_folder.resolve()
    found = examine(recipe, overrides, config=config, out=out)
    sys.stdout.write(json.dumps([asdict(one) for one in found]) + "\n" if options else as_table(found))
    sys.stdout.flush()
    bad = [one for one in found if not one.is_good]
    if bad:
        raise RetryError(
            f"{len(bad)} checks failed, the first on node {bad[0].node}: {bad[0].check}, {bad[0].told}; leave the node "
            "out, or mend it"
        )


def examine(recipe: str, overrides: Sequence[str], *, config: LaunchConfig, out: Path) -> list[Finding]:
    """Start a probe on every node, and judge what they find."""
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".preflight-", dir=out))
    nodes, token = config.nodes, secrets.token_hex(16)
    (folder / TOKEN).write_text(token)
    command = [sys.executable, "-m", "launch", "probe", recipe, *overrides, f"--folder={folder}"]
    processes: list[subprocess.Popen[bytes]] = []
    facts: list[Facts] = []
    try:
        processes += [subprocess.Popen(one, cwd=ROOT, stdout=STDERR) for one in commands(command, nodes)]
        facts = _wait(folder, processes, nodes=nodes, timeout_s=config.preflight.timeout_s)
        return [
            *own_findings(facts, config.preflight),
            *answer_findings(facts),
            *clock_findings(facts, config.preflight, token=token),
            *network_findings(facts, config.preflight, token=token),
        ]
    finally:
        for one in facts:
            tell_to_end(one["host"], one["port"], token=token)
        for process in processes:
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    process.terminate()
    process.wait()


def commands(probe: Sequence[str], nodes: int) -> list[list[str]]:
    """What starts a probe on every node: one srun in an allocation of Slurm, else so many processes here."""
    if "SLURM_JOB_ID" in os.environ:
        return [["srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", *probe]]
    return [[*probe, f"--node={node}"] for node in range(nodes)]


def _wait(folder: Path, processes: Sequence["subprocess.Popen[bytes]"], *, nodes: int, timeout_s: float) -> list[Facts]:
    deadline = time.monotonic() + timeout_s
    names = [f"node-{node}.json" for node in range(nodes)]
    while missing := [name for name in names if not (folder / name).exists()]:
        if any(process.poll() for process in processes):
            raise RetryError(f"the probe of {missing[0].removesuffix('.json')} failed, its words are above")
        if time.monotonic() > deadline:
            raise RetryError(
                f"{missing[0].removesuffix('.json')} said nothing for {timeout_s:g} s (launch.preflight.timeout_s); "
                "look whether it is up and sees the run's folder"
            )
        time.sleep(POLL_S)
    facts: list[Facts] = [json.loads((folder / name).read_bytes()) for name in names]
    for number, one in enumerate(facts):
        if [other["name"] for other in facts].count(one["name"]) > 1:
            one["label"] = f"{one['name']}:{number}"
    return facts


def label(fact: Facts) -> str:
    """A node's name; with its number where several probes share a machine."""
    return str(fact.get("label", fact["name"]))


def own_findings(facts: Sequence[Facts], config: PreflightConfig) -> list[Finding]:
    """What a node has against what it must have."""
    limits = [
        *(("memory", "memory_gb", config.min_memory_gb, "GB"), ("/dev/shm", "shm_gb", config.min_shm_gb, "GB")),
        *(("disk", "disk_gb", config.min_disk_gb, "GB"), ("files", "files", config.min_files, "")),
        ("disk speed", "disk_mb_per_s", config.min_disk_mb_per_s, "MB/s"),
        ("processes", "processes", config.min_processes, ""),
    ]
    found = []
    for fact in facts:
        for check, name, floor, unit in limits:
            value = "unlimited" if fact[name] >= sys.maxsize else f"{fact[name]:,.0f} {unit}".strip()
            why = "" if fact[name] >= floor else f"{fact[name]:.4g} {unit}".strip() + _limit("min", name, floor)
            found.append(Finding(node=label(fact), check=check, is_good=not why, value=value, told=why))
        value = f"{fact['fsync_ms']:.1f} ms"
        why = value + _limit("max", "fsync_ms", config.max_fsync_ms) if fact["fsync_ms"] > config.max_fsync_ms else ""
        found.append(Finding(node=label(fact), check="fsync", is_good=not why, value=value, told=why))
    return found


def _limit(which: str, name: str, value: float) -> str:
    return f", launch.preflight.{which}_{name} is {value:g}"


def answer_findings(facts: Sequence[Facts]) -> list[Finding]:
    """What stages' verbs said, which must be the same on every node and rank; the most frequent answer is believed."""
    found = []
    for check in facts[0]["answers"]:
        said = Counter(answer for fact in facts for answer in fact["answers"][check])
        believed, _ = max(said.items(), key=lambda item: (item[0].startswith("{"), item[1]))
        for fact in facts:
            other = next((answer for answer in fact["answers"][check] if answer != believed), None)
            why = believed if not believed.startswith("{") else ""
            if other is not None:
                why = f"{other[:200]}, which most nodes do not say"
            value = hash_value(believed)[:DIGITS]
            found.append(Finding(node=label(fact), check=check, is_good=not why, value=value, told=why))
    return found


def clock_findings(facts: Sequence[Facts], config: PreflightConfig, *, token: str) -> list[Finding]:
    """How far each node's clock is from the first one's."""
    offsets = [_offset(fact, token=token) for fact in facts]
    found = []
    for fact, offset in zip(facts, offsets, strict=True):
        ms = 1000 * (offset - offsets[0])
        value = f"{ms:+.1f} ms"
        why = ""
        if abs(ms) > config.max_clock_ms:
            why = f"{value} from {label(facts[0])}" + _limit("max", "clock_ms", config.max_clock_ms)
        found.append(Finding(node=label(fact), check="clock", is_good=not why, value=value, told=why))
    return found


def _offset(fact: Facts, *, token: str) -> float:
    tries = []
    for _ in range(CLOCK_TRIES):
        before = time.time()
        there: float = ask(fact["host"], fact["port"], {"token": token, "do": "clock"}, timeout_s=10.0)["time"]
        after = time.time()
        tries.append((after - before, there - (before + after) / 2))
    _, offset = min(tries)
    return offset


def network_findings(facts: Sequence[Facts], config: PreflightConfig, *, token: str) -> list[Finding]:
    """Nodes that cannot exchange bytes fast enough, by two rounds of pairs."""
    said: dict[Pair, Mapping[str, Any]] = {}

    def fails(pair: Pair) -> bool:
        one, other = facts[pair[0]], facts[pair[1]]
        request = {"token": token, "do": "exchange", "host": other["host"], "port": other["port"]}
        request |= {"bytes": config.network_mb * MEGABYTE}
        try:
            said[pair] = ask(one["host"], one["port"], request, timeout_s=config.timeout_s)
        except OSError as error:
            said[pair] = {"mb_per_s": 0.0, "fault": str(error)}
        return bool(said[pair]["fault"]) or said[pair]["mb_per_s"] < config.min_network_mb_per_s

    first = _failing(first_round(len(facts)), fails)
    second = _failing(second_round(len(facts), first), fails)
    guilty = at_fault(len(facts), first, second)
    found = []
    for number, fact in enumerate(facts):
        tried = [(pair, answer) for pair, answer in said.items() if number in pair]
        value, why = "alone", ""
        if tried:
            pair, answer = tried[-1]
            value = f"{answer['mb_per_s']:,.0f} MB/s"
            if number in guilty:
                peer = label(facts[pair[0] if pair[1] == number else pair[1]])
                why = f"{value} with {peer}, {answer['fault'] or 'too slow'}"
                why += _limit("min", "network_mb_per_s", config.min_network_mb_per_s)
        found.append(Finding(node=label(fact), check="network", is_good=not why, value=value, told=why))
    return found


def _failing(pairs: Sequence[Pair], fails: Callable[[Pair], bool]) -> list[Pair]:
    # All at once, as in training.
    with ThreadPoolExecutor(max_workers=max(len(pairs), 1)) as pool:
        return [pair for pair, failed in zip(pairs, pool.map(fails, pairs), strict=True) if failed]


def as_table(found: Sequence[Finding]) -> str:
    """Findings for people: a line a node, then a line a failure."""
    checks = list(dict.fromkeys(one.check for one in found))
    cells = {(one.node, one.check): one.value if one.is_good else f"{one.value} FAIL" for one in found}
    nodes = dict.fromkeys(one.node for one in found)
    rows = [(node, *(cells[node, check] for check in checks)) for node in nodes]
    bad = [f"FAIL {one.node} {one.check}: {one.told}" for one in found if not one.is_good]
    return "\n".join([columns([("node", *checks), *rows]), *bad, ""])
