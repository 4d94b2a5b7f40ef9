"""The spike policy under keepers: what it goes back to, and what it made void, comes back from their memory."""

import signal
from pathlib import Path

import pytest

from core.ledger import read_lines
from tests.launch.keeper_runs import UNHURRIED, kept_run
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from tests.train.test_spikes import JUMPY
from train.run import main


@pytest.fixture(scope="module")
def jumpy(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to but spikes, on one rank without a keeper."""
    root = tmp_path_factory.mktemp("jumpy")
    assert run_ranks(1, main, [tiny.arguments(root, *JUMPY)], notes=root / "notes").exit_codes == [0]
    return root


def test_a_return_is_the_same_whatever_dies_around_it(tiny: Tiny, jumpy: Path, tmp_path: Path) -> None:
    (first, *_) = events(finished_folder(jumpy), "run.returned")
    step, to = first["step"], first["to"]
    faults = [
        # Before the return, at it, after the first step behind it, and with the node that holds it.
        f"crash@rank=1,step={step},generation=1,phase=update",
        f"crash@rank=1,step={to + 1},generation=2",
        f"crash@rank=0,step={to + 2},generation=3",
        f"lose@rank=0,step={to + 2},generation=4,phase=reduce",
    ]
    texts = ",".join(f'"{text}"' for text in faults)
    budget = "launch.max_restarts_without_progress=9"
    with kept_run(tiny, tmp_path, *JUMPY, f"launch.faults=[{texts}]", budget, "launch.backoff_s=0.01") as run:
        assert run.finish() == 0, run.stderr
    assert [event["kind"] for event in run.events("failed")] == ["CRASH", "CRASH", "CRASH", "LOST"]
    reached = [(at, f"keepers hold the state after step {at}") for at in (step, step, to + 1, to + 1)]
    assert run.resumed() == reached
    assert result_of(tmp_path) == result_of(jumpy)
    assert [one for one in read_lines(finished_folder(tmp_path) / "ledger.jsonl") if "returned" in one]


def test_a_run_that_is_asked_to_stop_goes_on_from_a_saved_step(tiny: Tiny, jumpy: Path, tmp_path: Path) -> None:
    one = ("launch.nodes=1", "launch.spares=0", "launch.ranks_per_node=2")
    with kept_run(tiny, tmp_path, *JUMPY, *one, UNHURRIED, held_at=9) as run:
        with run.held():
            run.process.send_signal(signal.SIGTERM)
            run.wait(lambda: run.events("stop.told"), "the ranks are told to stop")
        assert run.finish() == 143, run.stderr
    assert "goes on from the last saved one" in run.stderr
    (folder,) = tmp_path.glob(".train-*.part")
    assert [path.name for path in (folder / "checkpoints").glob("step-*")] == ["step-000006"]
    with kept_run(tiny, tmp_path, *JUMPY, *one) as run:
        assert run.finish() == 0, run.stderr
    assert run.resumed()[0][0] == 6
    assert result_of(tmp_path) == result_of(jumpy)
