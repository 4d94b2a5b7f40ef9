"""The nodes that the coordinator hears of: their connections, and what they said last."""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from core.durable import write_durably
from core.wire import Line, Message, encode, is_token
from launch.keeperconfig import Place

READ_BYTES = 1 << 16
POLL_S = 0.02
# A keeper that hears nothing takes the coordinator for lost.
TELL_S = 0.5


class State(Enum):
    """How far a node is on its way into the run."""

    STARTING = "starting"
    """Its keeper is there; the process that ranks are forked from is not yet."""
    ASKED = "asked"
    """It is asked for its passport."""
    READY = "ready"
    REFUSED = "refused"
    """In quarantine, or its passport was wrong."""


@dataclass(slots=True)
class Node:
    """A node whose keeper is connected. `statuses` are its ranks' in `generation`, None while they live."""

    name: str
    connection: socket.socket
    host: str
    pid: int
    shelf: str
    port: int
    generation: int
    statuses: dict[int, int | None]
    state: State = State.STARTING
    heard: float = field(default_factory=time.monotonic)
    beats: dict[int, tuple[int, str, int]] = field(default_factory=dict)

    def tell(self, message: Message) -> None:
        """Send it something; if it is gone, that is found where its connection is read."""
        with contextlib.suppress(OSError):
            self.connection.sendall(encode(message))

    def told(self, *, is_training: bool) -> Message:
        """Who is where, for people, drills and tests."""
        ranks = {rank: {"step": step, "phase": phase, "pid": pid} for rank, (step, phase, pid) in self.beats.items()}
        return {"keeper": self.pid, "state": self.state.value, "is_training": is_training, "ranks": ranks}


class Members:
    """All nodes that are connected. `hear` gets what they say, `lose` a node that is gone."""

    def __init__(
        self,
        place: Place,
        *,
        greet: Callable[[Node], None],
        hear: Callable[[Node, Message], None],
        lose: Callable[[Node, str], None],
    ) -> None:
        self._place, self._greet, self._hear, self._lose = place, greet, hear, lose
        self.nodes: dict[str, Node] = {}
        self._selector = selectors.DefaultSelector()
        self._told = 0.0
        self._listening = socket.create_server((place.host, place.port), backlog=128)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._lines: dict[socket.socket, tuple[Line, str]] = {}
        where = {"host": place.host, "port": self._listening.getsockname()[1]}
        write_durably(place.coordinator_file, json.dumps(where).encode())

    def tell(self, message: Message) -> None:
        """Send something to all."""
        for node in self.nodes.values():
            node.tell(message)

    def phases(self, seated: Sequence[str]) -> list[str]:
        """Of all ranks that live on these nodes; none while a node is missing."""
        nodes = [self.nodes[name] for name in seated if name in self.nodes]
        if len(nodes) < len(seated):
            return []
        beats = [(node, rank, phase) for node in nodes for rank, (_, phase, _) in node.beats.items()]
        return [phase for node, rank, phase in beats if node.statuses.get(rank) is None]

    def listen(self) -> None:
        """Hear what there is to hear, for POLL_S at most; then lose those that have been silent for too long."""
        for key, _ in self._selector.select(POLL_S):
            if key.fileobj is self._listening:
                connection, _ = self._listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ)
                self._lines[connection] = (Line(), "")
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)
        now = time.monotonic()
        if now - self._told > TELL_S:
            self._told = now
            for node in self.nodes.values():
                node.tell({"do": "nothing"})
        limit = now - self._place.node_timeout_s
        for node in [node for node in self.nodes.values() if node.heard < limit]:
            self._drop(node.connection, f"it has said nothing for {self._place.node_timeout_s:g} s")

    def _read(self, connection: socket.socket) -> None:
        content = b""
        with contextlib.suppress(OSError):
            content = connection.recv(READ_BYTES)
        if not content:
            self._drop(connection, "its keeper is gone")
            return
        lines, name = self._lines[connection]
        try:
            messages = lines.feed(content)
        except ValueError:
            self._drop(connection, "it speaks no JSON")
            return
        for message in messages:
            if not name:
                name = self._enter(connection, message)
                if not name:
                    return
                continue
            node = self.nodes.get(name)
            if node is not None and node.connection is connection:
                node.heard = time.monotonic()
                self._hear(node, message)

    def _enter(self, connection: socket.socket, message: Message) -> str:
        if not is_token(message, self._place.token):
            self._drop(connection, "it does not know the run's token")
            return ""
        node = Node(
            name=message["node"],
            connection=connection,
            host=message["host"],
            pid=message["pid"],
            shelf=message["shelf"],
            port=message["port"],
            generation=message["generation"],
            statuses={int(rank): status for rank, status in message["ranks"].items()},
        )
        before = self.nodes.get(node.name)
        if before is not None and (before.host, before.pid) != (node.host, node.pid):
            # If that one is gone, this will be seen soon, and the new one will have asked again.
            node.tell({"do": "wait", "why": f"node {node.name} is there already, at {before.host}"})
            self._drop(connection, "")
            return ""
        if before is not None:
            # It had taken the coordinator for lost; its ranks did not stop meanwhile.
            self._forget(before.connection)
        self.nodes[node.name] = node
        self._lines[connection] = (self._lines[connection][0], node.name)
        self._greet(node)
        return node.name

    def _forget(self, connection: socket.socket) -> str:
        _, name = self._lines.pop(connection, (Line(), ""))
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
        connection.close()
        return name

    def _drop(self, connection: socket.socket, why: str) -> None:
        name = self._forget(connection)
        node = self.nodes.get(name)
        if node is not None and node.connection is connection:
            del self.nodes[name]
            self._lose(node, why)
