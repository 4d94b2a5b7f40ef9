"""Who speaks for a node: one keeper, which may lose the coordinator and come back without losing anything."""

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.wire import Line, encode
from launch.address import address_towards, interface_of, split
from launch.config import LaunchConfig
from launch.keeperconfig import Place
from launch.members import Members, Node
from launch.nodes import place_of
from tests.launch.conftest import wait_until

HERE = "127.0.0.1"


@dataclass
class Heard:
    """What the coordinator would have heard of."""

    greeted: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass
class Meeting:
    """Members on a port of their own."""

    place: Place
    members: Members
    heard: Heard
    _open: list[socket.socket] = field(default_factory=list)

    def hello(self, name: str, pid: int, *, token: str = "") -> socket.socket:
        """A keeper that says who it is."""
        where = json.loads(self.place.coordinator_file.read_text())
        connection = socket.create_connection((where["host"], where["port"]))
        facts = {"node": name, "host": HERE, "pid": pid, "shelf": "", "port": 1, "generation": 0, "ranks": {}}
        connection.sendall(encode({"token": token or self.place.token, **facts}))
        self._open.append(connection)
        return connection

    def until(self, is_so: Any) -> None:
        """Listen until something is so."""

        def listened() -> bool:
            self.members.listen()
            return bool(is_so())

        wait_until(listened, "it is so")

    def said(self, connection: socket.socket) -> list[dict[str, Any]]:
        """What has been said to a keeper until its connection is closed."""
        connection.setblocking(False)
        line, found, is_closed = Line(), list[dict[str, Any]](), list[bool]()

        def is_over() -> bool:
            try:
                content = connection.recv(1 << 16)
            except BlockingIOError:
                return False
            found.extend(line.feed(content))
            is_closed.extend([True] if not content else [])
            return bool(is_closed)

        self.until(is_over)
        return found

    def close(self) -> None:
        """Leave nothing."""
        for connection in self._open:
            connection.close()
        shutil.rmtree(self.place.room)


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    config = LaunchConfig(nodes=2, node_timeout_s=60)
    place, heard = place_of("tiny.yaml", [], config, out=tmp_path, micro_batches=8), Heard()

    def lose(node: Node, why: str) -> None:
        heard.lost.append(f"{node.name}: {why}")

    members = Members(
        place, greet=lambda node: heard.greeted.append(node.pid), hear=lambda node, message: None, lose=lose
    )
    made = Meeting(place, members, heard)
    yield made
    made.close()


def test_a_keeper_that_comes_back_by_itself_was_never_lost(meeting: Meeting) -> None:
    meeting.hello("n1", 7)
    meeting.until(lambda: meeting.heard.greeted == [7])
    meeting.hello("n1", 7)
    meeting.until(lambda: meeting.heard.greeted == [7, 7])
    assert not meeting.heard.lost and [*meeting.members.nodes] == ["n1"]


def test_a_second_keeper_of_the_same_name_is_told_so_and_the_first_one_stays(meeting: Meeting) -> None:
    first = meeting.hello("n1", 7)
    meeting.until(lambda: meeting.heard.greeted == [7])
    (said,) = meeting.said(meeting.hello("n1", 8))
    assert said == {"do": "wait", "why": f"node n1 is there already, at {HERE}"}
    assert meeting.heard.greeted == [7] and not meeting.heard.lost
    first.close()
    meeting.until(lambda: meeting.heard.lost == ["n1: its keeper is gone"])
    meeting.hello("n1", 8)
    meeting.until(lambda: meeting.heard.greeted == [7, 8])


def test_who_does_not_know_the_token_is_not_heard(meeting: Meeting) -> None:
    assert meeting.said(meeting.hello("n1", 7, token="guessed")) == []
    assert not meeting.heard.greeted and not meeting.members.nodes


def test_a_keeper_that_has_outlived_the_launch_is_known_by_the_next_one_of_the_same_recipe(tmp_path: Path) -> None:
    config = LaunchConfig(nodes=2, address=HERE)

    def token_of(*overrides: str, address: str = HERE) -> str:
        config.address = address
        made = place_of("tiny.yaml", [*overrides], config, out=tmp_path, micro_batches=8)
        made.write()
        shutil.rmtree(made.room)
        return made.token

    first = token_of("train.steps=4")
    assert token_of("train.steps=4", "launch.address=elsewhere", address="elsewhere") == first
    assert token_of("train.steps=5") != first
    # Emulated nodes end with their launch.
    assert token_of("train.steps=5", address="") != token_of("train.steps=5", address="")


def test_a_machine_knows_its_address_and_the_interface_that_has_it() -> None:
    assert address_towards(HERE) == HERE and interface_of(HERE) == "lo"
    with pytest.raises(ConfigError, match="no interface of this machine has the address 203"):
        interface_of("203.0.113.7")


@pytest.mark.parametrize("wrong", [":1", "host:", "host:http"])
def test_an_address_is_a_host_and_perhaps_a_port(wrong: str) -> None:
    assert split("host") == ("host", 0) and split("host:29500") == ("host", 29500)
    with pytest.raises(ConfigError, match="give HOST or HOST:PORT"):
        LaunchConfig(address=wrong)
