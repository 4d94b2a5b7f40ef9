"""Faults under keepers, with real processes and signals: the run ends with the bits of the undisturbed one."""

import os
import signal
from pathlib import Path

import pytest

from launch.goodput import read
from tests.launch.keeper_runs import UNHURRIED, Kept, kept_run
from tests.train.runs import Tiny, events, finished_folder

# By generation: a fault; what the coordinator takes it for; after which step the next generation goes on.
IN_A_ROW = [
    ("crash@rank=1,step=3,generation=1", "CRASH", 2),
    ("crash@rank=0,step=5,generation=2,phase=update", "CRASH", 5),
    ("freeze@rank=1,step=7,generation=3", "HANG", 6),
    ("lose@rank=0,step=9,generation=4", "LOST", 8),
]
SLOW = [
    ("abort@rank=1,step=2,generation=1", "CRASH", 1),
    ("oom@rank=0,step=4,generation=2", "OOM", 3),
    ("raise@rank=3,step=6,generation=3", "ERROR", 5),
    ("lose@rank=2,step=8,generation=4,phase=update", "LOST", 8),
    ("crash@rank=2,step=10,generation=5,phase=write", "CRASH", 10),
]


def _survives(tiny: Tiny, out: Path, faults: list[tuple[str, str, int]], *overrides: str) -> Kept:
    texts = ",".join(f'"{text}"' for text, _, _ in faults)
    budget = "launch.max_restarts_without_progress=9"
    with kept_run(tiny, out, f"launch.faults=[{texts}]", "launch.watchdog_floor_s=8", budget, *overrides) as run:
        assert run.finish() == 0, run.stderr
    assert [event["kind"] for event in run.events("failed")] == [kind for _, kind, _ in faults]
    assert all(why == f"keepers hold the state after step {step}" for step, why in run.resumed())
    return run


def _reached(run: Kept) -> list[int]:
    return [step for step, _ in run.resumed()]


def test_faults_in_a_row_cost_no_committed_step_and_no_bit(tiny: Tiny, clean: str, tmp_path: Path) -> None:
    run = _survives(tiny, tmp_path, IN_A_ROW)
    assert _reached(run) == [step for _, _, step in IN_A_ROW]
    frozen, lost = run.events("failed")[2:]
    assert frozen["rank"] == 1
    assert lost["node"] not in run.events("generation.began")[-1]["seated"]
    assert len(run.events("generation.began")[-1]["seated"]) == 2
    assert run.weights() == clean


# Slow: more of the same with twice the ranks, 30 s of processor time each.
@pytest.mark.slow
@pytest.mark.parametrize("how", ["zero1", "replicated", "fsdp2", "hsdp"])
def test_so_it_is_at_every_placement(tiny: Tiny, clean: str, tmp_path: Path, how: str) -> None:
    placed = (f"train.placement={how}", "launch.ranks_per_node=2")
    run = _survives(tiny, tmp_path, SLOW, *placed)
    assert run.weights() == clean
    # With shards a rank may apply a step that another has not yet handed over: then that one is computed again.
    for reached, (text, _, step) in zip(_reached(run), SLOW, strict=True):
        assert step - ("phase" in text) <= reached <= step


def test_without_a_spare_fewer_nodes_go_on_and_one_that_comes_back_is_taken_again(
    tiny: Tiny, clean: str, tmp_path: Path
) -> None:
    faults = 'launch.faults=["lose@rank=1,step=4,generation=1","sleep@rank=0,step=11,generation=2"]'
    # Rank 0 waits for the node and is not to be taken for hung meanwhile.
    patient = ("launch.watchdog_floor_s=600", "train.timeout_s=600")
    with kept_run(tiny, tmp_path, faults, "launch.spares=0", "launch.node_return_s=0.1", *patient) as run:
        assert run.finish() == 0, run.stderr
    assert [len(event["seated"]) for event in run.events("generation.began")] == [2, 1, 2]
    assert run.events("admitted")[-1]["why"] == "its passport is right"
    assert run.weights() == clean


def test_the_loss_of_the_coordinator_stops_nobody(tiny: Tiny, clean: str, tmp_path: Path) -> None:
    one = ("launch.nodes=1", "launch.spares=0", "launch.ranks_per_node=2")
    with kept_run(tiny, tmp_path, *one, UNHURRIED, held_at=3) as run:
        with run.held():
            (coordinator,) = [pid for pid in _children(run.process.pid) if b"coordinate" in _command(pid)]
            os.kill(coordinator, signal.SIGKILL)
        assert run.finish() == 0, run.stderr
    assert len(run.events("generation.began")) == 1
    assert run.weights() == clean


def test_a_run_that_is_asked_to_stop_finishes_its_step_commits_it_and_goes_on_from_there(
    tiny: Tiny, clean: str, tmp_path: Path
) -> None:
    one = ("launch.nodes=1", "launch.spares=0", "launch.ranks_per_node=2")
    with kept_run(tiny, tmp_path, *one, UNHURRIED, held_at=2) as run:
        with run.held():
            run.process.send_signal(signal.SIGTERM)
            run.wait(lambda: run.events("stop.told"), "the ranks are told to stop")
        assert run.finish() == 143, run.stderr
    assert (tmp_path / "PREEMPTED").exists()
    (folder,) = tmp_path.glob(".train-*.part")
    last = max(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))
    with kept_run(tiny, tmp_path, *one) as run:
        assert run.finish() == 0, run.stderr
    assert run.resumed()[0][0] == last > 0
    assert not (tmp_path / "PREEMPTED").exists()
    assert run.weights() == clean


def test_the_same_error_at_the_same_step_on_another_node_ends_the_run_with_evidence(tiny: Tiny, tmp_path: Path) -> None:
    with kept_run(tiny, tmp_path, 'launch.faults=["raise@rank=1,step=3"]', "launch.spares=0") as run:
        assert run.finish() == 65
    first, second = run.events("failed")
    assert (first["step"], first["node"]) != (second["step"], second["node"]) and first["step"] == second["step"] == 3
    assert "ValueError: a fault that was asked for" in run.stderr
    (evidence,) = (run.folder / "evidence").iterdir()
    assert {path.name for path in evidence.iterdir()} == {
        *("failure.json", "stacks.txt", "journal.txt", "environment.json"),
    }
    assert "a fault that was asked for" in (evidence / "failure.json").read_text()


def test_a_frozen_node_of_an_old_generation_can_commit_nothing_when_it_wakes(
    tiny: Tiny, clean: str, tmp_path: Path
) -> None:
    with kept_run(tiny, tmp_path, UNHURRIED, "launch.node_timeout_s=4", "launch.spares=0", held_at=3) as run:
        with run.held():
            (lost,) = [node for node in run.training().values() if "0" in node["ranks"]]
            frozen = [lost["keeper"], *(rank["pid"] for rank in lost["ranks"].values())]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
        run.wait(lambda: len(run.events("generation.began")) > 1, "a second generation")
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        assert run.finish() == 0, run.stderr
    assert "it has said nothing" in run.events("failed")[0]["word"]
    assert run.weights() == clean


def test_a_node_that_lies_is_named_and_what_it_did_is_undone(tiny: Tiny, clean: str, tmp_path: Path) -> None:
    lies = 'launch.faults=["flip@node=n0,share=0.5"]'
    with kept_run(tiny, tmp_path, lies, "launch.nodes=3", "launch.spares=0", "launch.audit_rate=0.5") as run:
        assert run.finish() == 0, run.stderr
    assert run.events("audit.voted")[0]["liar"] == "n0"
    assert run.events("quarantined")[0]["node"] == "n0"
    assert "n0" in run.events("generation.began")[0]["seated"]
    assert "n0" not in run.events("generation.began")[-1]["seated"]
    assert run.weights() == clean


def test_a_slow_rank_is_given_fewer_micro_batches_without_a_restart(tiny: Tiny, clean: str, tmp_path: Path) -> None:
    slow = 'launch.faults=["sleep@rank=0,phase=micro_batch,seconds=0.4"]'
    with kept_run(tiny, tmp_path, slow, "train.balance_every_steps=2", "launch.spares=0") as run:
        assert run.finish() == 0, run.stderr
    (shifted, *_) = events(finished_folder(tmp_path), "work.shifted")
    own, other = shifted["micro_batches"]
    assert own < 4 and own + other == 8 and shifted["step"] == 2
    assert read(tmp_path).shifted >= 1
    assert len(run.events("generation.began")) == 1
    assert run.weights() == clean


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
