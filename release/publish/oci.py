"""A release in an OCI registry: `oci://HOST[:PORT]/NAME[:TAG]`, one blob a file, with ModelPack's media types.

Written from the OCI distribution and image specifications 1.1 and CNCF's ModelPack specification. A blob's name is its
SHA-256, which is also the manifest's, so what is there already needs no upload. Blobs are hashed on their way back:
oras's Python client does not do that (measured).
Registries on this machine are talked to over plain HTTP, all others over HTTPS. Name and password come from ~/.netrc.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

import requests
from requests.utils import get_netrc_auth

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, sha256_hex
from release.publish.parts import MAX_LIST_BYTES, Part
from release.publish.place import Blocks, GoneError
from release.publish.web import ask, expect, new_session, read_json, receive

ADDRESS = re.compile(r"oci://([\w.-]+|\[[0-9a-f:]+\])(:\d+)?/([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([\w][\w.-]{0,127}))?")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
PATH = "org.cncf.model.filepath"
# Beyond this, registries refuse a manifest.
MAX_MANIFEST_BYTES = 4 << 20
# By the folder at the top of a bundle; the rest are documents.
KINDS = {
    "weights": "weight",
    "checkpoints": "weight",
    "tokenizer": "weight.config",
    "config": "weight.config",
    "code": "code",
    "env": "code",
    "data": "dataset",
}


class Registry:
    """A repository of a registry, and a tag."""

    def __init__(self, address: str) -> None:
        found = ADDRESS.fullmatch(address)
        if not found:
            raise ConfigError(f"{address!r} is not of the form oci://HOST[:PORT]/name[:TAG]; correct it")
        host, port, name, tag = found[1], found[2] or "", found[3], found[4] or "latest"
        scheme = "http" if host in LOOPBACK else "https"
        self.address = address
        self._tag, self._name, self._url = tag, name, f"{scheme}://{host}{port}/v2/{name}"
        self._session, self._token = new_session(), ""
        self._parts: dict[str, Part] = {}
        self._layers: dict[str, str] | None = None

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """A file's bytes."""
        layers = self._held()
        if path not in layers:
            raise GoneError(f"{path} is not at {self.address}")
        url = f"{self._url}/blobs/{layers[path]}"
        self._ask("HEAD", url).close()
        return receive(self._session, url, start=start, headers=self._authorization())

    def prepare(self) -> None:
        """Repositories come into being with their first blob."""

    def has(self, part: Part) -> bool:
        """Whether the registry has the part's blob. The part will stand in the image's manifest in any case."""
        self._parts[part.path] = part
        answer = self._ask("HEAD", f"{self._url}/blobs/sha256:{part.digest}")
        answer.close()
        if answer.status_code != 404:
            expect(answer, (200,))
        return answer.status_code == 200

    def write(self, part: Part, file: Path) -> None:
        """Upload a blob; the registry refuses one whose hash is not its name."""
        with file.open("rb") as stream:
            self._upload(f"sha256:{part.digest}", stream if part.bytes else b"")
        self._parts[part.path] = part

    def finish(self) -> None:
        """Upload the image's manifest under the tag."""
        parts = sorted(self._parts.values(), key=lambda part: part.path)
        config = canonical_json(
            {
                "descriptor": {"name": self._name.rpartition("/")[2], "version": self._tag},
                "modelfs": {"type": "layers", "diffIds": [f"sha256:{part.digest}" for part in parts]},
                "config": {},
            }
        )
        digest = f"sha256:{sha256_hex(config)}"
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": {"mediaType": CONFIG, "digest": digest, "size": len(config)},
            "layers": [_layer(part) for part in parts],
        }
        content = canonical_json(manifest)
        if len(content) > MAX_MANIFEST_BYTES:
            raise DataError(f"{len(parts)} files are more than a registry's manifest takes; publish to another place")
        self._upload(digest, config)
        url = f"{self._url}/manifests/{self._tag}"
        expect(self._ask("PUT", url, data=content, headers={"Content-Type": MANIFEST}), (201,)).close()
        self._layers = None

    def _held(self) -> dict[str, str]:
        """The digest of every file's blob, by path. While a release is being written, what is to be there."""
        if self._layers is None:
            try:
                self._layers = self._read_manifest()
            except GoneError:
                self._layers = {}
        written = {part.path: f"sha256:{part.digest}" for part in self._parts.values()}
        return self._layers | written

    def _read_manifest(self) -> dict[str, str]:
        answer = expect(self._ask("GET", f"{self._url}/manifests/{self._tag}", headers={"Accept": MANIFEST}), (200,))
        if int(answer.headers.get("Content-Length") or 0) > MAX_LIST_BYTES:
            raise DataError(f"{self.address} has a manifest of more than {MAX_LIST_BYTES} bytes; do not use it")
        try:
            layers = [(layer["annotations"][PATH], layer["digest"]) for layer in read_json(answer)["layers"]]
            return {str(path): str(digest) for path, digest in layers}
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.address} is no release of files: its manifest has no {error}") from error

    def _upload(self, digest: str, content: Any) -> None:
        begun = expect(self._ask("POST", f"{self._url}/blobs/uploads/", headers={"Content-Length": "0"}), (202,))
        begun.close()
        place = urljoin(begun.url, begun.headers.get("Location", ""))
        headers = {"Content-Type": "application/octet-stream"}
        url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        expect(self._ask("PUT", url, data=content, headers=headers), (201,)).close()

    def _ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, data: Any = None
    ) -> requests.Response:
        """Ask the registry; once more with a token, if it wants one."""
        sent = (headers or {}) | self._authorization()
        answer = ask(self._session, method, url, headers=sent, data=data)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status_code != 401 or self._token or not challenge.lower().startswith("bearer "):
            return answer
        answer.close()
        self._token = self._new_token(challenge)
        if hasattr(data, "seek"):
            data.seek(0)
        return ask(self._session, method, url, headers=sent | self._authorization(), data=data)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _new_token(self, challenge: str) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = asked.get("realm", "")
        if not realm.startswith("https://") and not self._url.startswith("http://"):
            raise DataError(f"{self.address} sends to {realm!r} for a token, which is not https; do not use it")
        scope = f"repository:{self._name}:pull,push"
        answer = ask(
            self._session,
            "GET",
            realm,
            params={"service": asked.get("service", ""), "scope": scope},
            auth=get_netrc_auth(self._url),
        )
        record = read_json(expect(answer, (200,)))
        return str(record.get("token") or record.get("access_token") or "")


def _layer(part: Part) -> dict[str, Any]:
    kind = KINDS.get(PurePosixPath(part.path).parts[0], "doc")
    return {
        "mediaType": f"application/vnd.cncf.model.{kind}.v1.raw",
        "digest": f"sha256:{part.digest}",
        "size": part.bytes,
        "annotations": {PATH: part.path},
    }
