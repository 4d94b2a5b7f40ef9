import os
import subprocess
import sys
from pathlib import Path

import pytest

from release.contents import Bundle
from release.manifest import read_manifest


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder to work in whose environment is ready, as the scripts leave it: making one takes minutes."""
    python = tmp_path / "work/venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "work/venv/.ready").touch()
    return tmp_path / "work"


def run_script(path: Path, *arguments: object, work: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "WORK": str(work)}
    command = ["sh", str(path), *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_verify_sh_runs_the_bundles_own_code_and_leaves_the_bundle_as_it_was(bundle: Bundle, work: Path) -> None:
    before = sorted(bundle.folder.rglob("*"))
    for _ in range(2):
        done = run_script(bundle.folder / "verify.sh", "--root", "0" * 64, work=work)
        assert done.returncode == 66, done.stderr
        assert done.stdout.startswith("integrity    FAIL         the root is ")
    assert (work / "code/release/verify.py").exists()
    assert sorted(bundle.folder.rglob("*")) == before


def test_reproduce_sh_asks_for_what_the_bundle_does_not_hold(bundle: Bundle, work: Path) -> None:
    done = run_script(bundle.folder / "reproduce.sh", work=work)
    assert done.returncode == 64
    assert "source alpha is files, which a bundle does not hold" in done.stderr


def test_the_scripts_are_sound_for_a_plain_shell(released: Path) -> None:
    for name in ("verify.sh", "reproduce.sh"):
        assert subprocess.run(["sh", "-n", str(released / name)], check=False).returncode == 0


def test_the_pages_name_every_stage_source_and_folder(bundle: Bundle) -> None:
    page, readme = ((bundle.folder / name).read_text() for name in ("MANIFEST.md", "README.md"))
    for stage, digest in bundle.digests.items():
        assert f"| {stage} | `{digest}` |" in page
    assert "| beta | CC0-1.0 |" in readme
    corpus = bundle.read_json("data/manifest.json")
    assert f"The corpus with root `{corpus['roots']['corpus']}`: 2 shards of " in page
    assert f"| beta | `{corpus['sources'][1]['locator']}` | CC0-1.0 | 200 | 186 | 14 | 0 |" in page
    assert bundle.record["trajectory_head"] in readme
    tops = {entry.path.split("/")[0] for entry in read_manifest(bundle.folder)} - {"MANIFEST.md"}
    assert all(f"| `{top}` |" in page for top in tops)
