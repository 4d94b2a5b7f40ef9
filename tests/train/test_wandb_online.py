"""A view on a hub never stops, holds up or changes a run. wandb's own client, and a hub on this machine."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from core.journal import Journal
from core.ledger import read_lines
from tests.conftest import run_module
from tests.train.runs import Tiny, events, finished_folder, result_of
from tests.train.wandb_hub import open_hub
from train.step import Numbers
from train.wandb_online import LOG, LinePipe, OnlineView

SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2")
ONLINE = "train.wandb=online"
# More than any pipe of Linux holds, at about 80 bytes each.
MANY = 20_000
# Only a hang takes so long.
DEADLINE_S = 300.0


def numbers(step: int) -> Numbers:
    """What a step gave; its loss names it."""
    return Numbers(
        data_step=step,
        left_out="",
        lr=1e-3,
        loss=float(step),
        norm=1.0,
        count=1,
        grads=None,
        seconds=0.0,
        compute_seconds=0.0,
    )


def open_view(folder: Path, *, finish_s: float) -> OnlineView:
    """A view of a run called `seen`."""
    return OnlineView(folder, name="seen", facts={"seed": 1}, journal=Journal(folder / "journal"), finish_s=finish_s)


def lost(folder: Path) -> list[dict[str, object]]:
    """What the journal of `open_view` says of lost views."""
    lines = (folder / "journal").read_text().splitlines() if (folder / "journal").exists() else []
    return [line for line in map(json.loads, lines) if line["event"] == "wandb.lost"]


def test_a_hub_gets_every_step_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_hub() as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        view = open_view(tmp_path, finish_s=DEADLINE_S)
        for step in (1, 2, 3):
            view.log(step, numbers=numbers(step), scores=None)
        view.finish()
    assert [(line["_step"], line["loss"], line["lr"]) for line in hub.history] == [
        (n, float(n), 1e-3) for n in (1, 2, 3)
    ]
    assert lost(tmp_path) == []


def test_a_hub_that_never_answers_holds_nothing_up_and_its_sender_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_hub(is_mute=True) as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        view = open_view(tmp_path, finish_s=0.0)
        # Would never come to its end if a full pipe were waited for: the sender reads nothing before the hub answers.
        for step in range(MANY):
            view.log(step, numbers=numbers(step), scores=None)
        view.finish()
    (said,) = lost(tmp_path)
    assert said["exit_code"] == -9 and isinstance(said["steps_left_out"], int) and 0 < said["steps_left_out"] < MANY


def test_a_run_without_a_key_is_the_run_without_a_view_and_says_what_it_lost(tiny: Tiny, tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_API_KEY": ""}
    for name, overrides in (("seen", (ONLINE,)), ("plain", ())):
        done = run_module("train", "run", *tiny.arguments(tmp_path / name, *SHORT, *overrides), env=nowhere)
        assert done.returncode == 0, done.stderr
    assert result_of(tmp_path / "seen") == result_of(tmp_path / "plain")
    folder = finished_folder(tmp_path / "seen")
    (said,) = events(folder, "wandb.lost")
    assert said["exit_code"] == 1
    assert "No API key configured" in (folder / "witness" / LOG).read_text()
    assert not events(finished_folder(tmp_path / "plain"), "wandb.lost")


@pytest.mark.slow
def test_a_run_that_is_seen_has_the_bits_of_one_that_is_not_and_the_hub_has_its_losses(
    tiny: Tiny, tmp_path: Path
) -> None:
    with open_hub() as hub:
        done = run_module("train", "run", *tiny.arguments(tmp_path / "seen", *SHORT, ONLINE), env=hub.environment)
    assert done.returncode == 0, done.stderr
    plain = run_module("train", "run", *tiny.arguments(tmp_path / "plain", *SHORT))
    assert plain.returncode == 0, plain.stderr
    assert result_of(tmp_path / "seen") == result_of(tmp_path / "plain")
    folder = finished_folder(tmp_path / "seen")
    losses = [float.fromhex(line["loss"]) for line in read_lines(folder / "ledger.jsonl")[1:]]
    # On a machine so slow that the sender is ended, fewer.
    assert [line["loss"] for line in hub.history] == losses or events(folder, "wandb.lost")


def test_lines_that_find_no_room_are_left_out_whole() -> None:
    reading, writing = os.pipe()
    pipe = LinePipe(writing)
    for step in range(MANY):
        pipe.send({"step": step})
    assert 0 < pipe.left_out < MANY
    received = os.read(reading, 1 << 22)
    pipe.send({"step": MANY})
    os.close(writing)
    received += os.read(reading, 1 << 22)
    os.close(reading)
    steps = [json.loads(line)["step"] for line in received.splitlines()]
    assert steps == [*range(MANY - pipe.left_out), MANY]


def test_the_sender_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from core.journal import Journal\n"
        "from train.wandb_online import OnlineView\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "view = OnlineView(folder, name='seen', facts={}, journal=Journal(folder / 'journal'))\n"
        "print(view._process.pid, flush=True); sys.stdin.read()"
    )
    with open_hub(is_mute=True) as hub:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **hub.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        sender = int(process.stdout.readline())
        assert hub.asked.wait(DEADLINE_S), "the sender asked the hub nothing"
        descriptor = os.pidfd_open(sender)
        process.kill()
        process.communicate()
        ended, _, _ = select.select([descriptor], [], [], DEADLINE_S)
        os.close(descriptor)
    assert ended
