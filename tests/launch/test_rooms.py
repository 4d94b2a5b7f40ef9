"""What a killed keeper has left in memory is swept by the next; what lives, or is not known, stays."""

import json
import subprocess
import sys
from pathlib import Path

from core.codetree import ROOT
from launch.rooms import OWNER, claim, sweep

CLAIM = """
import sys
from pathlib import Path
from launch.rooms import claim
claim(Path(sys.argv[1]))
print(flush=True)
input()
"""


def _room(folder: Path, name: str) -> Path:
    made = folder / f"wholegrain-{name}"
    made.mkdir()
    return made


def test_a_room_is_swept_when_its_owner_was_killed_and_not_before(tmp_path: Path) -> None:
    room = _room(tmp_path, "n0")
    (room / "heart").write_bytes(b"x")
    command = [sys.executable, "-c", CLAIM, str(room)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        assert sweep(tmp_path) == []
        owner.kill()
    assert sweep(tmp_path) == [room] and not room.exists()


def test_a_process_that_has_the_number_of_a_dead_one_is_not_its_owner(tmp_path: Path) -> None:
    room = _room(tmp_path, "n0")
    claim(room)
    assert sweep(tmp_path) == []
    told = json.loads((room / OWNER).read_text())
    (room / OWNER).write_text(json.dumps({**told, "started": told["started"] - 1}))
    assert sweep(tmp_path) == [room]


def test_rooms_that_are_not_marked_or_of_another_container_stay(tmp_path: Path) -> None:
    bare, other = _room(tmp_path, "bare"), _room(tmp_path, "other")
    (other / OWNER).write_text(json.dumps({"pid": 1 << 30, "started": 1, "processes": "pid:[1]"}))
    assert sweep(tmp_path) == []
    assert bare.exists() and other.exists()
