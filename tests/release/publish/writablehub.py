"""A small Hugging Face hub on this machine that takes commits: one model repository, one branch.

It answers what huggingface_hub asks when it creates a repository, uploads through LFS, commits and lists.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_BYTES = 10_000


@dataclass(slots=True)
class Shelf:
    """What the hub holds: files by path, uploaded objects by SHA-256, and how many commits there were."""

    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    url: str = ""


@contextmanager
def serving() -> Iterator[Shelf]:  # noqa: C901 (the handler's branches are counted in)
    """Serve a hub on a free port of this machine."""
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            path = unquote(urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "/resolve/" in path:
                content = shelf.files.get(path.split("/", 5)[5])
                self._answer(404 if content is None else 200, content or b"")
                return
            if self.command == "PUT":
                shelf.objects[path.rpartition("/")[2]] = body
                self._answer(200, b"")
                return
            self._answer(200, json.dumps(reply(path, body)).encode())

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 (names of http.server)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    def reply(path: str, body: bytes) -> Any:
        if path == "/api/repos/create":
            return {"url": f"{shelf.url}/me/tiny"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if "/tree/" in path:
            return [listed(name, content) for name, content in sorted(shelf.files.items())]
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [("lfs" if file["size"] > LFS_BYTES else "regular", file["path"]) for file in files]
            return {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for mode, name in modes]}
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            objects = [one | {"actions": {"upload": {"href": f"{shelf.url}/lfs/{one['oid']}"}}} for one in wanted]
            return {"transfer": "basic", "objects": objects}
        commit(body)
        return {"success": True, "commitOid": "1" * 40, "commitUrl": f"{shelf.url}/me/tiny/commit/1", "hookOutput": ""}

    def commit(body: bytes) -> None:
        for row in map(json.loads, body.splitlines()):
            value = row["value"]
            if row["key"] == "file":
                shelf.files[value["path"]] = base64.b64decode(value["content"])
            if row["key"] == "lfsFile":
                shelf.files[value["path"]] = shelf.objects[value["oid"]]
        shelf.commits += 1

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield shelf
    finally:
        server.shutdown()
        server.server_close()


def listed(name: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it: a large one with its SHA-256, each with git's hash of what git holds."""
    size = len(content)
    blob = hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest()
    row: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": blob}
    if size > LFS_BYTES:
        row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
    return row
