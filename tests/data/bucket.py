"""An S3 on this machine: moto's server, behind a gate that counts requests and misbehaves on request."""

import http.client
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

BUCKET = "corpus"
# moto wants to see that a request is signed, and does not look at the signature.
SIGNED = "AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@dataclass(slots=True)
class Bucket:
    """A bucket that is there, and how its gate misbehaves.

    faults  what happens to the next reads of objects: a status, or "drop" after half of what is asked for
    ranges  what was asked for of objects, as in `bytes=5-9`
    """

    address: str
    moto: tuple[str, int] = ("", 0)
    faults: list[int | str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    @property
    def store(self) -> dict[str, Any]:
        """How a source reaches it."""
        return {"endpoint_override": self.address, "scheme": "http", "region": "us-east-1", "anonymous": True}

    def put(self, key: str, content: bytes, *, acl: str = "public-read") -> str:
        """Put an object and return its address."""
        for path, body in ((f"/{BUCKET}", b""), (f"/{BUCKET}/{key}", content)):
            inner = http.client.HTTPConnection(*self.moto, timeout=30)
            inner.request("PUT", path, body, {"Authorization": SIGNED, "x-amz-acl": acl})
            assert inner.getresponse().status == 200
            inner.close()
        self.ranges.clear()
        return f"s3://{BUCKET}/{key}"


@contextmanager
def serving() -> Iterator[Bucket]:
    """Serve a bucket on a free port of this machine."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    bucket = Bucket("", moto.get_host_and_port())

    class Gate(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = self._fault()
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            inner = http.client.HTTPConnection(*bucket.moto, timeout=30)
            inner.request(self.command, self.path, body, dict(self.headers))
            answer = inner.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fault == "drop" else content)
            self.close_connection = fault == "drop"
            inner.close()

        def _fault(self) -> int | str:
            if self.command != "GET" or "?" in self.path:
                return ""
            bucket.ranges.append(self.headers.get("Range", ""))
            return bucket.faults.pop(0) if bucket.faults else ""

        do_GET = do_PUT = do_HEAD = do_POST = handle_any  # noqa: N815 (names of http.server)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    gate = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    bucket.address = f"127.0.0.1:{gate.server_port}"
    threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield bucket
    finally:
        gate.shutdown()
        gate.server_close()
        moto.stop()
