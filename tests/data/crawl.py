"""A web archive made on the spot: the same bytes every time."""

import base64
import gzip
import hashlib
import uuid
from collections.abc import Mapping, Sequence

DATE = "2026-11-22T00:00:00Z"
XHTML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head>'
    "<body><p>{text}</p></body></html>"
)


def http(
    body: bytes, *, kind: str = "text/html", status: str = "200 OK", headers: Mapping[str, str] | None = None
) -> bytes:
    """An HTTP response."""
    fields = {**({"Content-Type": kind} if kind else {}), "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def record(kind: str, uri: str, block: bytes, *, headers: Mapping[str, str] | None = None) -> bytes:
    """A record with a fixed date, an id made of its address, and the digest of its block."""
    fields = {
        "WARC-Type": kind,
        "WARC-Target-URI": uri,
        "WARC-Date": DATE,
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, kind + uri)}>",
        "WARC-Block-Digest": "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode(),
        "Content-Length": str(len(block)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"WARC/1.1\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def packed(records: Sequence[bytes]) -> bytes:
    """Records as a .warc.gz: a gzip member each."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)


def text_of(number: int) -> str:
    """A sentence of its own for a page."""
    return f"Page {number} of the crawl tells of {hashlib.md5(bytes([number])).hexdigest()} in a sentence of its own."


def page(number: int) -> bytes:
    """A page of HTML."""
    return f"<!DOCTYPE html><html><body><p>{text_of(number)}</p></body></html>".encode()


def crawl() -> list[bytes]:
    """Twenty pages of HTML, four of XHTML however served, and what else a crawl has."""
    found = [record("warcinfo", "", b"software: none\r\n")]
    for number in range(20):
        found.append(record("request", f"http://a/{number}", b"GET / HTTP/1.1\r\n\r\n"))
        found.append(record("response", f"http://a/{number}", http(page(number))))
    for number, kind in enumerate(
        ["application/xhtml+xml", "text/xml", "application/xml; charset=utf-8", ""], start=20
    ):
        body = XHTML.format(text=text_of(number)).encode()
        found.append(record("response", f"http://a/{number}", http(body, kind=kind)))
    found.append(record("response", "http://a/gone", http(page(99), status="404 Not Found")))
    found.append(record("response", "http://a/i.png", http(b"\x89PNG\r\n\r\nWARC/1.0\r\n", kind="image/png")))
    found.append(record("response", "http://a/feed", http(b"<?xml version='1.0'?><rss/>", kind="text/xml")))
    found.append(record("response", "dns:a", b"20261122 127.0.0.1"))
    found.append(record("revisit", "http://a/0", http(b"")))
    return found
