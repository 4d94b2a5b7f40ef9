"""The spike policy: what is an outlier, when the run goes back, and that placement and kills change nothing of it."""

import json
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import DeterministicError
from core.ledger import Line, read_lines
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from train import replay
from train.config import SpikeConfig
from train.run import main
from train.spikes import Measured, Watch

# So few deviations that steps of the tiny run are outliers now and then.
JUMPY = (
    *("train.steps=24", "train.warmup_steps=1", "train.lr=0.3", "train.min_lr=0.3", "train.save_every_steps=6"),
    *("train.clip_norm=1000", "train.spikes.is_on=true", "train.spikes.window=3", "train.spikes.deviations=2.5"),
    *("train.spikes.patience=2", "train.spikes.max_returns=20"),
)


def watch(*, patience: int = 2, max_returns: int = 1) -> Watch:
    return Watch(
        config=SpikeConfig(is_on=True, window=4, deviations=3.0, patience=patience, max_returns=max_returns),
        measured=Measured(losses=(2.0, 2.2, 1.8, 2.0), norms=(1.0, 1.0, 1.0, 1.0)),
    )


def test_an_outlier_lies_above_the_mean_by_more_than_the_deviations() -> None:
    # Deviation of the losses: sqrt((0.2^2 + 0.2^2) / 4) = 0.1414.
    assert watch().reason(loss=2.42, norm=1.0) == ""
    assert watch().reason(loss=2.43, norm=1.0) == "loss"
    assert watch().reason(loss=0.1, norm=1.0) == ""
    assert watch().reason(loss=2.0, norm=1.01) == "norm"


def test_nothing_is_an_outlier_before_the_window_is_full_or_when_it_is_off() -> None:
    one = watch()
    one.measured = Measured(losses=(2.0,), norms=(1.0,))
    assert one.reason(loss=99.0, norm=99.0) == ""
    one = Watch(config=SpikeConfig(window=4), measured=watch().measured)
    assert one.reason(loss=99.0, norm=99.0) == ""


def test_an_outlier_does_not_enter_the_measure() -> None:
    one = watch()
    one.note(loss=9.0, norm=1.0, reason="loss")
    assert one.measured.losses == watch().measured.losses and one.measured.outliers == 1
    one.note(loss=1.9, norm=1.0, reason="")
    assert one.measured.losses == (2.2, 1.8, 2.0, 1.9) and one.measured.outliers == 0


def test_the_run_goes_back_after_enough_outliers_or_before_a_checkpoint() -> None:
    one = watch()
    assert not one.must_return(is_saved=True)
    one.note(loss=9.0, norm=1.0, reason="loss")
    assert not one.must_return(is_saved=False) and one.must_return(is_saved=True)
    one.note(loss=9.0, norm=1.0, reason="loss")
    assert one.must_return(is_saved=False)


def test_going_back_skips_the_data_seen_since_and_ends_after_too_many() -> None:
    one, saved = watch(), watch().measured
    one.go_back(saved, step=12, to=8, why="loss")
    assert one.returned == {"from": 12, "why": "loss", "shift": 4}
    assert (one.measured.shift, one.measured.returns, one.measured.losses) == (4, 1, saved.losses)
    with pytest.raises(DeterministicError, match="step 11: loss or gradient leaped again, after 1 returns"):
        one.go_back(saved, step=11, to=8, why="loss")


def test_what_was_measured_survives_being_written_down() -> None:
    measured = Measured(losses=(1 / 3, 2.0), norms=(0.1,), shift=7, outliers=1, returns=2)
    assert Measured.of(measured.plain()) == measured


@pytest.fixture(scope="module")
def jumpy(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that leaves steps out and goes back."""
    out = tmp_path_factory.mktemp("jumpy")
    ended = run_ranks(1, main, [tiny.arguments(out / "runs", *JUMPY)], notes=out / "notes")
    assert ended.exit_codes == [0], ended.messages
    return out / "runs"


def steps_of(out: Path) -> list[Line]:
    return read_lines(finished_folder(out) / "ledger.jsonl")[1:]


def test_the_ledger_says_what_was_left_out_and_where_the_run_went_back(jumpy: Path) -> None:
    steps = steps_of(jumpy)
    returns = events(finished_folder(jumpy), "run.returned")
    assert [line["step"] for line in steps] == list(range(1, 25))
    assert any("left_out" in line for line in steps) and returns
    assert [line["returned"]["from"] for line in steps if "returned" in line][-1] in [one["step"] for one in returns]
    # No state that was gone back behind was saved: a saved step is never an outlier.
    assert not [line for line in steps if "state" in line and "left_out" in line]
    assert steps[-1]["data_step"] == 24 + sum(one["step"] - one["to"] for one in returns)


@pytest.mark.parametrize(("world_size", "how"), [(2, "fsdp2"), (3, "zero1")])
def test_every_placement_decides_alike_even_if_a_rank_is_killed(
    jumpy: Path, tiny: Tiny, tmp_path: Path, world_size: int, how: str
) -> None:
    arguments = tiny.arguments(tmp_path / "runs", f"train.placement={how}", *JUMPY)
    killed = run_ranks(world_size, main, [arguments], notes=tmp_path / "notes", kill=(1, 15))
    assert killed.exit_codes[1] == -9
    ended = run_ranks(world_size, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * world_size, ended.messages
    assert result_of(tmp_path / "runs") == result_of(jumpy)


def test_a_replay_decides_alike_from_every_checkpoint(jumpy: Path, tiny: Tiny, tmp_path: Path) -> None:
    folder = finished_folder(jumpy)
    for start, until in ((6, 12), (12, 14), (12, 24), (18, 23)):
        out = tmp_path / f"{start}-{until}.jsonl"
        places = ["--pack", str(current(tiny.inputs, "pack").folder), "--until", str(until), "--out", str(out)]
        checkpoint = folder / "checkpoints" / f"step-{start:06d}"
        ended = run_ranks(
            1,
            replay.main,
            [[str(tiny.recipe), "train.timeout_s=60", *JUMPY, "--start", str(checkpoint), *places]],
            notes=tmp_path / "notes",
        )
        assert ended.exit_codes == [0], ended.messages
        wanted = [{key: line[key] for key in line if key != "prev"} for line in steps_of(jumpy)[start:until]]
        assert [json.loads(line) for line in out.read_bytes().splitlines()] == wanted
