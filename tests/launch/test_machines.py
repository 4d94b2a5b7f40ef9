"""Keepers on several machines (network namespaces), and what happens when the network between them is cut."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.codetree import ROOT
from launch.drills.machines import NAMES, PREFIX, Machine, machines, sweep, why_not
from tests.launch.keeper_runs import UNHURRIED, Kept, joined_run, supervised
from tests.train.runs import Tiny

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there are some")
SOON = "launch.node_timeout_s=8"
# More than a cut that is waited for in a test, and than the silence of a machine with more to do than it can.
PATIENT = "launch.node_timeout_s=60"


@pytest.fixture
def network() -> Iterator[list[Machine]]:
    """Two machines that train, a spare, and one beside them."""
    with machines(3) as made:
        yield made


def _seated(run: Kept) -> list[list[str]]:
    return [event["seated"] for event in run.events("generation.began")]


def _machine(network: list[Machine], name: str) -> Machine:
    return next(one for one in network if one.name == name)


@pytest.mark.parametrize("how", ["drop", pytest.param("unplug", marks=pytest.mark.slow)])
def test_a_machine_that_is_cut_off_is_replaced_and_can_commit_nothing(
    tiny: Tiny, clean: str, tmp_path: Path, network: list[Machine], how: str
) -> None:
    out = tmp_path / "out"
    with joined_run(tiny, out, network, UNHURRIED, SOON, held_at=3) as run:
        with run.held():
            # The first rank's: it writes ledger and checkpoints, and still sees the folder.
            lost = _seated(run)[0][0]
            getattr(_machine(network, lost), how)()
        assert run.finish(others=(lost,)) == 0, run.stderr
    first, second = _seated(run)
    assert lost in first and lost not in second and len(second) == 2
    assert run.events("failed")[0]["word"] == "it has said nothing for 8 s"
    assert run.weights() == clean


def test_a_cut_that_heals_in_time_restarts_nobody(
    tiny: Tiny, clean: str, tmp_path: Path, network: list[Machine]
) -> None:
    with joined_run(tiny, tmp_path / "out", network, UNHURRIED, PATIENT, held_at=3) as run:
        with run.held():
            flapping = _machine(network, _seated(run)[0][0])
            flapping.drop()
        run.wait(lambda: flapping.dropped() >= 10, "ten packets are lost")
        flapping.heal()
        assert run.finish() == 0, run.stderr
    assert len(_seated(run)) == 1 and not run.events("failed")
    assert run.weights() == clean


# Slow: 12 s of processor time; test_keeper.py has it on one machine.
@pytest.mark.slow
def test_the_loss_of_the_coordinators_machine_stops_nobody(
    tiny: Tiny, clean: str, tmp_path: Path, network: list[Machine]
) -> None:
    out = tmp_path / "out"
    with joined_run(tiny, out, network, UNHURRIED, PATIENT, held_at=3) as run:
        with run.held():
            run.process.kill()
            run.process.wait()
        with supervised(run.arguments, out, on=network[-1]) as again:
            assert again.finish() == 0, again.stderr
    assert len(_seated(again)) == 1 and again.events("taken up")
    assert again.weights() == clean


def test_the_machines_of_a_killed_process_are_taken_away_and_no_others() -> None:
    made = "from launch.drills.machines import machines\nwith machines(1): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", made], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        names = [NAMES / f"{PREFIX}{other.pid}-{name}" for name in ("n0", "outside")]
        sweep()
        assert all(name.exists() for name in names)
        other.kill()
    sweep()
    assert not any(name.exists() for name in names)
