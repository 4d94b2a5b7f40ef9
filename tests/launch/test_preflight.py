"""Nodes that are not fit for a run, each in one way, and what is said of them."""

import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from launch.pairing import Pair, at_fault, first_round, second_round
from launch.preflight import (
    Facts,
    Finding,
    answer_findings,
    as_table,
    clock_findings,
    network_findings,
    own_findings,
)
from launch.preflightconfig import PreflightConfig
from launch.probe import Handler, Server, exchange, look
from tests.conftest import run_module

TOKEN = "secret"
GOOD: Facts = {
    **{"name": "n1", "memory_gb": 64.0, "shm_gb": 16.0, "disk_gb": 500.0, "disk_mb_per_s": 900.0, "fsync_ms": 2.0},
    **{"files": sys.maxsize, "processes": 4096, "answers": {"burn": ['{"sha256":"ab"}'] * 2}},
}


def bad(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.node, one.check) for one in found if not one.is_good]


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("memory_gb", 0.5, "memory"),
        ("shm_gb", 0.01, "/dev/shm"),
        ("disk_gb", 0.2, "disk"),
        ("disk_mb_per_s", 1.0, "disk speed"),
        ("fsync_ms", 900.0, "fsync"),
        ("files", 512, "files"),
        ("processes", 20, "processes"),
    ],
)
def test_what_a_node_lacks_is_named_with_its_limit(name: str, value: float, check: str) -> None:
    config = PreflightConfig()
    assert bad(own_findings([GOOD], config)) == []
    found = own_findings([GOOD, GOOD | {"name": "n2", name: value}], config)
    assert bad(found) == [("n2", check)]
    (told,) = [one.told for one in found if not one.is_good]
    assert f"launch.preflight.{'max' if name == 'fsync_ms' else 'min'}_{name} is " in told
    assert f"FAIL n2 {check}: {told}" in as_table(found)


def test_this_machine_has_what_a_small_run_needs(tmp_path: Path) -> None:
    found = look(tmp_path, PreflightConfig(disk_mb=1))
    assert bad(own_findings([found], PreflightConfig(min_disk_mb_per_s=0.001, max_fsync_ms=60_000))) == []
    assert list(tmp_path.iterdir()) == []


def test_the_answer_that_most_nodes_give_is_believed() -> None:
    liar = GOOD | {"name": "n3", "answers": {"burn": ['{"sha256":"ab"}', '{"sha256":"cd"}']}}
    assert bad(answer_findings([GOOD, GOOD | {"name": "n2"}, liar])) == [("n3", "burn")]


def test_a_verb_that_fails_on_every_node_is_no_agreement() -> None:
    broken = GOOD | {"answers": {"burn": ["error: round 3 gave other bits"] * 2}}
    found = answer_findings([broken, broken | {"name": "n2"}])
    assert bad(found) == [("n1", "burn"), ("n2", "burn")]
    assert found[0].told == "error: round 3 gave other bits"


class Broken(Handler):
    """A probe whose network changes a byte of what passes."""

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        content = bytearray(self.rfile.read(request["bytes"])) if request["do"] == "echo" else bytearray()
        if content:
            content[-1] ^= 1
            self.wfile.write(content)
        else:
            answer = exchange(request["host"], request["port"], token=TOKEN, size=request["bytes"])
            self.wfile.write(json.dumps(answer | {"fault": answer["fault"] or "flipped"}).encode() + b"\n")


class Late(Handler):
    """A probe whose clock is an hour behind."""

    def handle(self) -> None:
        import time

        self.rfile.readline()
        self.wfile.write(json.dumps({"time": time.time() - 3600}).encode() + b"\n")


@contextmanager
def probes(*handlers: type[socketserver.StreamRequestHandler]) -> Iterator[list[Facts]]:
    """Probes of nodes n1, n2, ... on this machine."""
    servers = []
    for handler in handlers:
        server = Server(token=TOKEN, timeout_s=60)
        server.RequestHandlerClass = handler
        threading.Thread(target=server.serve_until_ended, daemon=True).start()
        servers.append(server)
    try:
        yield [
            {"name": f"n{number + 1}", "host": "127.0.0.1", "port": server.server_address[1]}
            for number, server in enumerate(servers)
        ]
    finally:
        for server in servers:
            server.is_ended = True
            server.server_close()


SLOW_IS_FINE = PreflightConfig(network_mb=1, min_network_mb_per_s=0.001)


@pytest.mark.parametrize("place", range(4))
def test_the_node_whose_network_flips_a_bit_is_named_and_not_its_partner(place: int) -> None:
    handlers = [Broken if number == place else Handler for number in range(4)]
    with probes(*handlers) as facts:
        assert bad(network_findings(facts, SLOW_IS_FINE, token=TOKEN)) == [(f"n{place + 1}", "network")]


def test_sound_nodes_pass_the_network_check_and_too_slow_ones_do_not() -> None:
    with probes(Handler, Handler, Handler) as facts:
        assert bad(network_findings(facts, SLOW_IS_FINE, token=TOKEN)) == []
        floor = PreflightConfig(network_mb=1, min_network_mb_per_s=1e9)
        assert len(bad(network_findings(facts, floor, token=TOKEN))) == 3


def test_a_node_that_answers_nobody_is_named() -> None:
    with probes(Handler, Handler, Handler, Handler) as facts:
        facts[2]["port"] = 1
        found = network_findings(facts, SLOW_IS_FINE, token=TOKEN)
    assert bad(found) == [("n3", "network")]


def test_a_probe_answers_nobody_without_the_token() -> None:
    with probes(Handler) as (fact,):
        assert exchange(fact["host"], fact["port"], token=TOKEN, size=1000)["fault"] == ""
        assert exchange(fact["host"], fact["port"], token="guess", size=1000)["fault"]


def test_a_clock_that_is_wrong_is_named() -> None:
    with probes(Handler, Late) as facts:
        found = clock_findings(facts, PreflightConfig(), token=TOKEN)
    assert bad(found) == [("n2", "clock")]
    assert abs(float(found[1].value.removesuffix(" ms")) + 3_600_000) < 60_000


@pytest.mark.parametrize("nodes", range(1, 9))
def test_every_node_is_paired_and_the_culprit_found_whoever_it_is(nodes: int) -> None:
    assert {node for pair in first_round(nodes) for node in pair} == (set(range(nodes)) if nodes > 1 else set())
    for culprit in range(nodes):

        def failing(pairs: list[Pair], culprit: int = culprit) -> list[Pair]:
            return [pair for pair in pairs if culprit in pair]

        first = failing(first_round(nodes))
        found = at_fault(nodes, first, failing(second_round(nodes, first)))
        # Of two or three nodes none is left that is known to be sound: all of the failing pairs are suspects.
        assert culprit in found or nodes == 1
        assert found == [culprit] or nodes < 4


def test_sound_nodes_are_not_paired_again() -> None:
    assert second_round(8, []) == [] and at_fault(8, [], []) == []


@pytest.mark.parametrize("wrong", [{"min_memory_gb": 0.0}, {"burn_rounds": -1}, {"timeout_s": 0.0}])
def test_limits_of_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give more than 0"):
        PreflightConfig(**wrong)


def test_two_real_probes_agree_and_a_floor_that_is_missed_ends_it_with_75(tiny_recipe: Path) -> None:
    small = ["launch.nodes=2", "launch.preflight.disk_mb=1", "launch.preflight.network_mb=1"]
    slow = ["launch.preflight.burn_rounds=2", "launch.preflight.min_network_mb_per_s=0.001"]
    unlikely = ["launch.preflight.min_disk_mb_per_s=0.001", "launch.preflight.max_fsync_ms=60000"]
    said = run_module(
        "launch", "preflight", tiny_recipe, *small, *slow, *unlikely, "launch.preflight.min_files=999999999"
    )
    assert said.returncode == 75, said.stderr
    header, *rows = said.stdout.splitlines()
    assert header.split()[0] == "node" and "burn" in header and "fingerprint" in header
    assert [row.split()[0] for row in rows[2:]] == ["FAIL", "FAIL"]
    assert all(" files: " in row for row in rows[2:])
    last = said.stderr.splitlines()[-1]
    assert last.startswith("error: 2 checks failed, the first on node ") and ": files, " in last
    assert not list((tiny_recipe.parent / "runs").glob(".preflight-*"))
