"""Verb `join`: keep this machine's ranks in a run under keepers whose coordinator is elsewhere.

Started once on every machine, by hand, by srun, as a pod; `python -m launch supervise RECIPE launch.address=HOST` is
the coordinator's end. All machines see the run's folder (a shared file system): there this finds where the coordinator
is and the run's token, which only the user's own account may read. It ends as the run does.
"""

import json
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.arguments import take
from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.errors import RetryError
from core.hashing import hash_value
from core.wire import Message
from launch import rooms
from launch.address import address_towards, interface_of, own_name
from launch.attempts import state_of
from launch.check import absolute
from launch.config import LaunchConfig
from launch.decide import DONE_CODE, error_of
from launch.keeper import Keeper
from launch.keeperconfig import PLACE, Place, memory_folder
from launch.nodes import FOLDER_NAME

POLL_S = 0.1


def main(arguments: list[str]) -> None:
    """`RECIPE [--node=NAME] [--host=ADDRESS] [key=value ...]`: keep ranks until the run is over.

    Returns at once if the run is finished. Raises the run's own error, or RetryError if no coordinator is to be found.
    """
    options, rest = take(arguments, values=("--node", "--host"))
    name, overrides = recipe_and_overrides(rest, "python -m launch join")
    recipe = absolute(name)
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "launch", LaunchConfig, overrides)
    place = find(
        run.out_folder.resolve() / FOLDER_NAME,
        timeout_s=config.join_s,
        is_finished=lambda: bool(state_of(recipe, overrides).folder),
    )
    if place is None:
        return
    host = socket.gethostbyname(options["--host"]) if "--host" in options else address_towards(place.host)
    interface_of(host)
    node = options.get("--node", own_name())
    room = memory_folder() / f"{rooms.PREFIX}{hash_value([str(place.out), node])[:16]}"
    # What a keeper of this node that was killed has left.
    shutil.rmtree(room, ignore_errors=True)
    rooms.sweep(memory_folder())
    room.mkdir(mode=0o700)
    rooms.claim(room)
    sys.stderr.write(f"node {node} at {host} joins the run in {place.out}\n")
    try:
        code, message = Keeper(replace(place, host=host, room=room), node).work()
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if code != DONE_CODE:
        raise error_of(code, message)


def find(folder: Path, *, timeout_s: float, is_finished: Callable[[], bool]) -> Place | None:
    """What the coordinator has written down; None if the run is finished. How an attempt before has ended is no news.

    Raises RetryError if nobody coordinates for too long, or the error that the attempt before has ended with.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        place = Place.read(folder / PLACE) if (folder / PLACE).exists() else None
        told = _told(place) if place else {}
        if place and "do" not in told:
            return place
        if place and told["code"] == DONE_CODE and is_finished():
            return None
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    if told:
        raise error_of(told["code"] or RetryError.exit_code, f"{told['message']}; nobody went on in {timeout_s:g} s")
    raise RetryError(
        f"nobody coordinates a run in {folder.parent} after {timeout_s:g} s (launch.join_s); start python -m "
        "launch supervise RECIPE launch.address=HOST, and see that this machine has the same folder"
    )


def _told(place: Place) -> Message:
    """Where the coordinator is, or how the run has ended; nothing yet."""
    try:
        found: Message = json.loads(place.coordinator_file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
