"""Artifacts: found or made, keyed by what decides them, never half there."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.artifact import Artifact, Plan, build, current, find, open_artifact, plan, point, publish, verify_files
from core.codetree import ROOT
from core.durable import write_durably
from core.errors import DataError, RetryError


def wanted_in(out: Path, *, config: dict[str, Any] | None = None, inputs: dict[str, Artifact] | None = None) -> Plan:
    return plan("clean", folder="core", out=out, config=config or {"seed": 1}, inputs=inputs or {})


def write(aside: Path) -> dict[str, Any]:
    (aside / "deep").mkdir()
    (aside / "deep" / "a.txt").write_text("a")
    (aside / "b.bin").write_bytes(b"\0" * 10)
    return {"came_in": "nothing", "went_out": "two files"}


def not_called(_aside: Path) -> dict[str, Any]:
    raise AssertionError("the artifact was to be found")


def test_an_artifact_is_made_once_and_then_found(tmp_path: Path) -> None:
    made = build(wanted_in(tmp_path), write)
    found = build(wanted_in(tmp_path), not_called)
    assert (found.digest, found.folder) == (made.digest, made.folder)
    assert current(tmp_path, "clean").digest == made.digest
    assert [entry["path"] for entry in made.record["files"]] == ["b.bin", "deep/a.txt"]
    assert not wanted_in(tmp_path).aside.exists()


def test_the_key_follows_configuration_code_stage_and_inputs(tmp_path: Path) -> None:
    first = wanted_in(tmp_path)
    one, other = (Artifact(folder=tmp_path, digest=digit * 64, record={}) for digit in "12")
    others = [
        wanted_in(tmp_path, config={"seed": 2}),
        replace(first, code="0" * 64),
        replace(first, stage="pack"),
        wanted_in(tmp_path, inputs={"fetch": one}),
        wanted_in(tmp_path, inputs={"fetch": other}),
        wanted_in(tmp_path, inputs={"source": one}),
    ]
    assert len({first.key, *(other.key for other in others)}) == 1 + len(others)
    assert wanted_in(tmp_path / "elsewhere").key == first.key


def test_the_digest_is_free_of_place_and_time(tmp_path: Path) -> None:
    here, there = build(wanted_in(tmp_path / "here"), write), build(wanted_in(tmp_path / "there"), write)
    assert here.digest == there.digest
    timing = [json.loads((artifact.folder / "witness" / "timing.json").read_text()) for artifact in (here, there)]
    assert timing[0] != timing[1]


def test_what_lies_in_the_witness_may_change(tmp_path: Path) -> None:
    made = build(wanted_in(tmp_path), write)
    (made.folder / "witness" / "journal.jsonl").write_text("{}\n")
    assert build(wanted_in(tmp_path), not_called).digest == made.digest


def test_another_content_gives_another_digest_under_the_same_key(tmp_path: Path) -> None:
    def write_other(aside: Path) -> dict[str, Any]:
        return {**write(aside), "went_out": "other facts"}

    one, other = build(wanted_in(tmp_path / "one"), write), build(wanted_in(tmp_path / "other"), write_other)
    assert one.folder.name == other.folder.name and one.digest != other.digest


DAMAGES = {
    "changed": lambda folder: (folder / "b.bin").write_bytes(b"\0" * 9 + b"\1"),
    "cut": lambda folder: (folder / "b.bin").write_bytes(b""),
    "missing": lambda folder: (folder / "deep" / "a.txt").unlink(),
    "added": lambda folder: (folder / "deep" / "c.txt").write_text("c"),
    "record torn": lambda folder: (folder / "artifact.json").write_bytes(b'{"format":'),
    "record missing": lambda folder: (folder / "artifact.json").unlink(),
    "record of another format": lambda folder: (folder / "artifact.json").write_text("[]"),
    "facts edited": lambda folder: (folder / "artifact.json").write_text(
        (folder / "artifact.json").read_text().replace("two files", "two lies!")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_moved_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    made = build(wanted_in(tmp_path), write)
    DAMAGES[damage](made.folder)
    again = build(wanted_in(tmp_path), write)
    assert again.digest == made.digest
    verify_files(again)
    assert len(list(tmp_path.glob(".clean-*.broken-*"))) == 1


def test_an_artifact_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    made = build(wanted_in(tmp_path), write)
    other = wanted_in(tmp_path, config={"seed": 2})
    made.folder.rename(other.final)
    assert find(other) is None


@pytest.mark.parametrize(
    ("damage", "what"), [("changed", "has SHA-256"), ("missing", "missing"), ("added", "not listed")]
)
def test_verification_names_the_file(tmp_path: Path, damage: str, what: str) -> None:
    made = build(wanted_in(tmp_path), write)
    DAMAGES[damage](made.folder)
    with pytest.raises(DataError, match=what):
        verify_files(open_artifact(made.folder))


def test_unfinished_work_is_redone_unless_the_writer_can_go_on(tmp_path: Path) -> None:
    wanted = wanted_in(tmp_path)
    wanted.aside.mkdir(parents=True)
    (wanted.aside / "half.txt").write_text("half")
    assert "half.txt" not in {entry["path"] for entry in build(wanted, write).record["files"]}
    resumed = wanted_in(tmp_path, config={"seed": 2})
    resumed.aside.mkdir()
    (resumed.aside / "half.txt").write_text("half")
    assert "half.txt" in {entry["path"] for entry in build(resumed, write, is_resumable=True).record["files"]}


def test_a_failing_writer_leaves_nothing_that_could_be_taken_for_an_artifact(tmp_path: Path) -> None:
    def fail(aside: Path) -> dict[str, Any]:
        write(aside)
        raise DataError("as asked")

    with pytest.raises(DataError, match="as asked"):
        build(wanted_in(tmp_path), fail)
    assert find(wanted_in(tmp_path)) is None
    with pytest.raises(DataError, match="has not been run"):
        current(tmp_path, "clean")


KILLED = """
import os, signal, sys
from pathlib import Path
import core.durable
from core.artifact import build, plan

at, calls = int(sys.argv[2]), 0
def dying(function):
    def call(*arguments):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
os.fsync, Path.replace, Path.rename = dying(os.fsync), dying(Path.replace), dying(Path.rename)

def write(aside):
    core.durable.write_durably(aside / "a.txt", b"a")
    return {"came_in": "nothing", "went_out": "one file"}
build(plan("clean", folder="core", out=Path(sys.argv[1]), config={}, inputs={}), write, is_resumable=True)
"""


def test_a_kill_at_any_point_of_the_commit_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    def write_a(aside: Path) -> dict[str, Any]:
        write_durably(aside / "a.txt", b"a")
        return {"came_in": "nothing", "went_out": "one file"}

    digests, codes = set(), []
    for at in range(1, 20):
        out = tmp_path / str(at)
        codes.append(subprocess.run([sys.executable, "-c", KILLED, out, str(at)], cwd=ROOT, check=False).returncode)
        wanted = plan("clean", folder="core", out=out, config={}, inputs={})
        digests.add(build(wanted, write_a, is_resumable=True).digest)
        assert current(out, "clean").digest in digests
        if codes[-1] == 0:
            break
    # Nothing is left to be killed at when the writer has come through: at least two renames and eight syncs were met.
    assert codes[-1] == 0 and set(codes[:-1]) == {-signal.SIGKILL} and len(codes) > 10
    assert len(digests) == 1


def test_two_makers_of_the_same_artifact_do_not_meet(tmp_path: Path) -> None:
    def write_and_try_again(aside: Path) -> dict[str, Any]:
        with pytest.raises(RetryError, match="another process holds"):
            build(wanted_in(tmp_path), write)
        return write(aside)

    build(wanted_in(tmp_path), write_and_try_again)


def test_a_pointer_to_an_artifact_that_has_changed_is_refused(tmp_path: Path) -> None:
    made = build(wanted_in(tmp_path), write)
    DAMAGES["facts edited"](made.folder)
    with pytest.raises(DataError, match="has changed since"):
        current(tmp_path, "clean")


def test_the_pointer_follows_the_last_run(tmp_path: Path) -> None:
    first, second = (build(wanted_in(tmp_path, config={"seed": seed}), write) for seed in (1, 2))
    assert current(tmp_path, "clean").digest == second.digest
    build(wanted_in(tmp_path), not_called)
    assert current(tmp_path, "clean").digest == first.digest
    before = (tmp_path / "clean.json").stat().st_mtime_ns
    point(tmp_path, first)
    assert (tmp_path / "clean.json").stat().st_mtime_ns == before


def test_what_a_killed_writer_left_half_written_is_not_published(tmp_path: Path) -> None:
    wanted = wanted_in(tmp_path)
    wanted.aside.mkdir(parents=True)
    (wanted.aside / "b.bin").write_bytes(b"b")
    (wanted.aside / ".b.bin.4711.part").write_bytes(b"ha")
    published = publish(wanted, {"came_in": "", "went_out": ""}, timing={})
    assert [entry["path"] for entry in published.record["files"]] == ["b.bin"]
    assert not (published.folder / ".b.bin.4711.part").exists()
