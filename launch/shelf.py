"""A shelf: what ranks, of this node and of others, have handed to a keeper, in its memory.

It outlives the ranks, and is lost with its node. What lies there are `base`s, a rank's whole state after a step, and
`log`s, the gradients that a step was made of. An entry is taken only if its bytes have the SHA-256 that its header
says, and only from the newest generation that is known: a rank of an older one that wakes up again is refused. The
two newest bases of every rank stay, with the logs behind the older one; and everything while an audit needs it.
"""

import socket
import socketserver
import threading
from dataclasses import dataclass, field
from typing import Any

from core.hashing import sha256_hex
from core.wire import Message, Wire, is_token

BASE, LOG = "base", "log"
KEPT_BASES = 2
# Of an entry's header: who handed what in.
Key = tuple[int, int, str, int, int]


@dataclass(slots=True)
class Shelf:
    """The entries by what `key_of` gives; nothing is thrown away for its age while it `is_pinned`."""

    generation: int = 0
    is_pinned: bool = False
    entries: dict[Key, tuple[Message, bytearray]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, header: Message, content: bytearray) -> Message:
        """Take an entry; returns the answer to whoever hands it in."""
        if sha256_hex(content) != header["sha256"]:
            return {"error": "the bytes are not those of the header"}
        with self._lock:
            if header["generation"] < self.generation:
                return {"error": f"generation {self.generation} has begun"}
            self.entries[key_of(header)] = (header, content)
            for key in (
                () if self.is_pinned else outdated(self.entries, generation=header["generation"], rank=header["rank"])
            ):
                del self.entries[key]
        return {}

    def headers(self) -> list[Message]:
        """The header of every entry."""
        with self._lock:
            return [header for header, _ in self.entries.values()]

    def content(self, key: Key) -> bytearray | None:
        """An entry's bytes."""
        with self._lock:
            entry = self.entries.get(key)
        return entry[1] if entry else None

    def begin(self, generation: int, *, void_after: int) -> None:
        """A generation has begun; what is known to be wrong is thrown away."""
        with self._lock:
            self.generation = max(self.generation, generation)
            if void_after >= 0:
                self.entries = {key: entry for key, entry in self.entries.items() if key[3] <= void_after}

    def spoil(self) -> None:
        """Turn one bit of the newest base: a fault, on purpose."""
        with self._lock:
            bases = [key for key in self.entries if key[2] == BASE and len(self.entries[key][1])]
            if bases:
                self.entries[max(bases)][1][0] ^= 1


def key_of(header: Message) -> Key:
    """By what an entry is found."""
    # What the spike policy has gone back behind stays until all ranks know of it.
    return header["generation"], header["rank"], header["kind"], header["step"], header.get("returns", 0)


def outdated(keys: Any, *, generation: int, rank: int) -> list[Key]:
    """What a rank that has handed in its second base no longer needs.

    Entries of older generations go with it: the state has been handed in anew since.
    """
    bases = sorted(key[3] for key in keys if key[:3] == (generation, rank, BASE))
    if len(bases) < KEPT_BASES:
        return []
    oldest = bases[-KEPT_BASES]
    own = [key for key in keys if key[:2] == (generation, rank)]
    before = [key for key in own if key[3] < oldest or (key[2] == LOG and key[3] == oldest)]
    return before + [key for key in keys if key[0] < generation and key[3] <= oldest]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # All ranks of a generation connect at once.
    request_queue_size = 128


class ShelfServer:
    """Serves a shelf on a port of its own, a thread a connection."""

    def __init__(self, shelf: Shelf, *, host: str, token: str) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _serve(shelf, self.request, token)

        self._server = _Server((host, 0), Handler)
        self.address = f"{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def _serve(shelf: Shelf, connection: socket.socket, token: str) -> None:
    wire = Wire(connection)
    try:
        greeting = wire.receive()
        if greeting is None or not is_token(greeting[0], token):
            return
        while (received := wire.receive()) is not None:
            message, content = received
            if message["do"] == "put":
                wire.send(shelf.put(message["header"], content))
            elif message["do"] == "list":
                wire.send({"headers": shelf.headers()})
            else:
                found = shelf.content(tuple(message["key"]))
                wire.send({"found": found is not None}, found or b"")
    except OSError:
        # The rank was killed in the middle of a message, which is what the shelf is for.
        return
