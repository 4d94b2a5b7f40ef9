"""A release in Debian's registry and back; a blob that rotted on its disk is caught."""

import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from core.hashing import sha256_hex
from release.publish.fetch import main as fetch_main
from release.publish.links import main as links_main
from release.publish.oci import ARTIFACT, MANIFEST, PATH, Registry
from release.publish.push import main
from tests.release.publish.conftest import FILES, contents, write_bundle

PROGRAM = "docker-registry"
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""
DEADLINE_S = 120.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry that keeps its blobs below tmp_path/registry: host and port."""
    if not shutil.which(PROGRAM):
        pytest.skip(f"{PROGRAM} is not installed (apt-get install {PROGRAM}): no registry to talk to")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(CONFIG.format(folder=tmp_path / "registry", port=port))
    process = subprocess.Popen([PROGRAM, "serve", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not is_up(port):
            assert process.poll() is None and time.monotonic() < deadline, "the registry does not start"
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)


def is_up(port: int) -> bool:
    """Whether a registry answers."""
    try:
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        asked.request("GET", "/v2/")
        return asked.getresponse().status == 200
    except OSError:
        return False


def test_a_release_goes_to_a_registry_and_comes_back_and_a_rotten_blob_is_caught(
    registry: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"oci://{registry}/some/tiny:v1"
    main([str(tiny), "--to", address])
    main([str(tiny), "--to", address])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("sent")] == [
        "sent 11 of 11 files; all were read back and are the bundle's",
        "sent 0 of 11 files; all were read back and are the bundle's",
    ]
    fetch_main([address, "--to", str(tmp_path / "got")])
    assert contents(tmp_path / "got") == contents(tiny)
    check_manifest(registry)
    with pytest.raises(ConfigError, match="holds another release"):
        main([str(write_bundle(tmp_path / "other", readme=b"else")), "--to", address])
    content = FILES["weights/small.bin"]
    (blob,) = (tmp_path / "registry").glob(f"**/{sha256_hex(content)}/data")
    blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match=r"weights/small\.bin at oci://.* damaged or forged there"):
        fetch_main([address, "--to", str(tmp_path / "again")])
    with pytest.raises(DataError, match="not as it was published"):
        links_main([address])
    assert "differs     weights/small.bin: has sha256" in capsys.readouterr().out


def check_manifest(registry: str) -> None:
    """The image's manifest has ModelPack's types, and every file's path."""
    host, _, port = registry.partition(":")
    asked = http.client.HTTPConnection(host, int(port), timeout=30)
    asked.request("GET", "/v2/some/tiny/manifests/v1", headers={"Accept": MANIFEST})
    manifest = json.loads(asked.getresponse().read())
    kinds = {layer["annotations"][PATH]: layer["mediaType"] for layer in manifest["layers"]}
    assert manifest["artifactType"] == ARTIFACT and len(kinds) == 11
    assert kinds["weights/small.bin"] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["README.md"] == "application/vnd.cncf.model.doc.v1.raw"


def test_a_tag_that_is_not_there_is_named(registry: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MANIFEST\.jsonl is not at oci://.*:none"):
        fetch_main([f"oci://{registry}/some/tiny:none", "--to", str(tmp_path / "got")])


@pytest.mark.parametrize("address", ["oci://", "oci://h", "oci://h/UPPER", "oci://h/a:b:c", "oci://h/a/../b:c/d"])
def test_what_is_no_address_of_a_registry_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form oci://"):
        Registry(address)
