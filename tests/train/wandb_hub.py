"""A hub for wandb's own client on this machine: it answers what the client asks of one, and keeps what it was sent.

The client finds it by WANDB_BASE_URL. What it asks was seen of wandb 0.31: its user, a run, and then lines of history.
"""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

KEY = "0" * 40


@dataclass
class Hub:
    """What came in; a mute hub takes every request and answers none until it is closed."""

    is_mute: bool = False
    url: str = ""
    asked: Event = field(default_factory=Event)
    history: list[dict[str, Any]] = field(default_factory=list)
    closed: Event = field(default_factory=Event)

    @property
    def environment(self) -> dict[str, str]:
        """What makes wandb's client take this hub."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}


class Handler(BaseHTTPRequestHandler):
    """Answers GraphQL and the stream of a run's files."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_POST(self) -> None:
        """Answer with what the client needs to go on."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.hub.asked.set()
        if self.hub.is_mute:
            self.hub.closed.wait()
            return
        if self.path.endswith("/file_stream"):
            sent = json.loads(body).get("files") or {}
            self.hub.history += [json.loads(line) for line in sent.get("wandb-history.jsonl", {}).get("content", [])]
        self._say(_answer(json.loads(body)) if self.path == "/graphql" else {})

    def do_GET(self) -> None:
        """There is nothing to get."""
        self._say({}, code=404)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def _say(self, answer: dict[str, Any], *, code: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    query, named = given.get("query", ""), given.get("variables") or {}
    if "upsertBucket" in query:
        project = {"id": "P", "name": "wholegrain", "entity": {"id": "E", "name": "us"}}
        bucket = {"id": "B", "name": named.get("name"), "displayName": "run", "config": "{}", "historyLineCount": 0}
        return {"data": {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}}
    if "createRunFiles" in query:
        # No file is taken: the numbers come as history.
        return {"data": {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": []}}}
    if "viewer" in query:
        user = {"id": "U", "name": "us", "username": "us", "entity": "us", "flags": "{}", "teams": {"edges": []}}
        return {"data": {"viewer": user, "serverInfo": {}}}
    return {"data": {}}


@contextmanager
def open_hub(*, is_mute: bool = False) -> Iterator[Hub]:
    """A hub that listens until the block ends."""
    hub = Hub(is_mute=is_mute)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()
