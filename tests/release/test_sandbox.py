"""What code of a bundle can do while it is verified: a spy looks around, with and without the sandbox."""

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from release.sandbox import MAX_FILE_BYTES, describe, environment
from release.stage import run_verb

SPY = """\
import json, os, resource, socket, sys

def may(act):
    try:
        act()
    except OSError:
        return False
    return True

def connect():
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=120).close()

print(json.dumps({
    "writes": may(lambda: open(sys.argv[3], "a").close()),
    "connects": may(connect),
    "writes_at_home": may(lambda: open(os.path.expanduser("~/x"), "w").close()),
    "names": sorted(os.environ),
    "file_bytes": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
    "core_bytes": resource.getrlimit(resource.RLIMIT_CORE)[0],
}))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code/spy").mkdir(parents=True)
    (tmp_path / "code/spy/__main__.py").write_text(SPY, encoding="utf-8")
    return tmp_path / "code"


def look(code: Path, target: Path, *, is_confined: bool) -> dict[str, Any]:
    """What the spy may do; somebody listens on this machine's loopback, which is not the sandbox's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = ["look", str(server.getsockname()[1]), str(target)]
        if is_confined:
            output = run_verb(code, "spy", *arguments).output
        else:
            command = [sys.executable, "-m", "spy", *arguments]
            output = subprocess.run(command, cwd=code, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def test_the_spy_can_do_all_of_it_outside(code: Path, tmp_path: Path) -> None:
    found = look(code, tmp_path / "bundle", is_confined=False)
    assert found["writes"]
    assert found["connects"]


def test_code_reaches_neither_network_nor_files_where_namespaces_are_permitted(code: Path, tmp_path: Path) -> None:
    if "permits no namespaces" in describe():
        pytest.skip("this system permits no namespaces, which verify says too")
    found = look(code, tmp_path / "bundle", is_confined=True)
    assert not found["writes"]
    assert not found["connects"]
    assert found["writes_at_home"]
    assert not (tmp_path / "bundle").exists()


def test_limits_hold_and_neither_secrets_nor_proxies_are_passed_on(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    found = look(code, tmp_path / "bundle", is_confined=True)
    assert found["core_bytes"] == 0
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    assert found["file_bytes"] == (MAX_FILE_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILE_BYTES))
    assert not {"AWS_SECRET_ACCESS_KEY", "https_proxy"} & set(found["names"])
    assert "PATH" in found["names"]


def test_home_and_temporary_files_lie_in_the_folder_that_is_removed(tmp_path: Path) -> None:
    made = environment({"HOME": "/home/me", "TMPDIR": "/var/tmp", "HF_TOKEN": "x", "LC_ALL": "C"}, tmp_path)
    assert made["HOME"] == made["TMPDIR"] == str(tmp_path)
    assert "HF_TOKEN" not in made
    assert made["LC_ALL"] == "C"
