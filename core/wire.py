"""Messages between processes: a line of JSON, and behind it as many bytes as the line says.

Plain sockets and the standard library, so that a keeper speaks it without torch. The two ends trust each other: whoever
connects must know the run's token (`greet` and `admit`), and nothing that arrives is ever executed.
"""

import hmac
import json
import socket
from typing import Any

Message = dict[str, Any]

BYTES = "bytes"
TOKEN = "token"
MAX_LINE = 1 << 26


class Line:
    """The lines of a stream that arrive in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> list[Message]:
        """The whole messages so far."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [json.loads(line) for line in lines if line]


def encode(message: Message) -> bytes:
    """A message without bytes behind it."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Wire:
    """One end of a connection on which messages with bytes go back and forth, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = connection.makefile("rb")

    def send(self, message: Message, content: bytes | bytearray | memoryview = b"") -> None:
        """Send a message and the bytes behind it."""
        self._connection.sendall(encode({**message, BYTES: len(content)}))
        if len(content):
            self._connection.sendall(content)

    def receive(self) -> tuple[Message, bytearray] | None:
        """The next message with its bytes; None when the other end has closed."""
        line = self._reader.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            return None
        message: Message = json.loads(line)
        content = bytearray(message.pop(BYTES, 0))
        view, at = memoryview(content), 0
        while at < len(content):
            count = self._reader.readinto(view[at:])
            if not count:
                return None
            at += count
        return message, content

    def ask(self, message: Message, content: bytes | memoryview = b"") -> tuple[Message, bytearray]:
        """Send a message and wait for its answer. Raises ConnectionError when the other end has closed."""
        self.send(message, content)
        answer = self.receive()
        if answer is None:
            raise ConnectionError("the other end has closed")
        return answer

    def close(self) -> None:
        """End the connection."""
        self._reader.close()
        self._connection.close()


def connect(address: str, *, token: str, connect_s: float, timeout_s: float) -> Wire:
    """A connection to `host:port`, made in `connect_s`, with the token said. Raises OSError if nobody answers."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=connect_s)
    connection.settimeout(timeout_s)
    wire = Wire(connection)
    wire.send({TOKEN: token})
    return wire


def is_token(message: Message, token: str) -> bool:
    """Whether a first message knows the run's token."""
    return hmac.compare_digest(str(message.get(TOKEN, "")), token)
