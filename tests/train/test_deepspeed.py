"""DeepSpeed's engine with our sum and rule gives the bits of every other placement; its own reduction does not."""

from importlib import metadata
from pathlib import Path

import pytest

from core.errors import ConfigError
from tests.train import deepspeed_runs
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.engine_probe import most_gradients_held, sums_with_and_without_drop
from tests.train.ranks import call, run_ranks
from tests.train.runs import Result, Tiny, events, finished_folder, result_of
from tests.train.test_parallel import RICH, SHORT
from tests.train.test_spikes import JUMPY
from train.needs import check_deepspeed
from train.run import main

OFFLOADED = "train.is_optimizer_offloaded=true"
STAGES = (1, 2, 3)


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What zero1 on one rank gives."""
    root = tmp_path_factory.mktemp("zero1")
    variants = {"rich": (*RICH, *SHORT), "jumpy": JUMPY}
    runs = [tiny.arguments(root / name, *overrides) for name, overrides in variants.items()]
    ended = run_ranks(1, main, runs, notes=root / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert events(finished_folder(root / "jumpy"), "run.returned")
    return {name: result_of(root / name) for name in variants}


@needs_deepspeed
@pytest.mark.parametrize(
    "world_size",
    # The grid of tests/train/test_placement_grid.py has them too, and each takes ten seconds.
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
)
def test_every_stage_gives_the_same_artifact_as_zero1(
    undisturbed: dict[str, Result], tiny: Tiny, tmp_path: Path, world_size: int
) -> None:
    cases: dict[str, tuple[str, ...]] = {
        f"deepspeed{stage}": (f"train.placement=deepspeed{stage}",) for stage in STAGES
    }
    cases |= {f"{name}-host": (*overrides, OFFLOADED) for name, overrides in cases.items() if world_size == 2}
    runs = [tiny.arguments(tmp_path / name, *overrides, *RICH, *SHORT) for name, overrides in cases.items()]
    ended = run_ranks(world_size, deepspeed_runs.main, runs, notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * world_size, ended.messages
    assert {name: result_of(tmp_path / name) for name in cases} == dict.fromkeys(cases, undisturbed["rich"])
    said = (tmp_path / "notes" / "rank0.log").read_text()
    assert not [word for word in ("[INFO]", "[WARNING]", "FutureWarning", "DeepSpeed") if word in said]


# Half a minute; the spike policy itself is tested at other placements.
@pytest.mark.slow
@needs_deepspeed
def test_steps_are_left_out_and_gone_back_behind_alike(
    undisturbed: dict[str, Result], tiny: Tiny, tmp_path: Path
) -> None:
    runs = [tiny.arguments(tmp_path / str(stage), f"train.placement=deepspeed{stage}", *JUMPY) for stage in STAGES]
    ended = run_ranks(2, deepspeed_runs.main, runs, notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * 2, ended.messages
    assert {result_of(tmp_path / str(stage)) for stage in STAGES} == {undisturbed["jumpy"]}


@needs_deepspeed
def test_the_engines_own_sum_repeats_itself_but_differs_by_stage_and_world_size(tiny: Tiny, tmp_path: Path) -> None:
    weights: dict[tuple[int, str], str] = {}
    for world_size, names in ((2, ("1", "2", "3", "3 again", "2 host")), (3, ("3",))):
        outs = {name: tmp_path / f"{world_size}-{name.replace(' ', '-')}" for name in names}
        runs = [
            tiny.arguments(
                out,
                f"train.placement=deepspeed{name[0]}",
                "train.sum=fast",
                *([OFFLOADED] if "host" in name else []),
                *SHORT,
            )
            for name, out in outs.items()
        ]
        ended = run_ranks(world_size, deepspeed_runs.main, runs, notes=tmp_path / "notes")
        assert ended.exit_codes == [0] * world_size, ended.messages
        weights |= {(world_size, name): result_of(out).weights for name, out in outs.items()}
    assert weights[2, "3"] == weights[2, "3 again"]
    assert weights[2, "2"] == weights[2, "2 host"]
    assert len({weights[2, "1"], weights[2, "3"], weights[3, "3"]}) == 3


@needs_deepspeed
def test_gradients_are_given_up_unit_by_unit_from_stage_2_on(tiny: Tiny) -> None:
    held = {stage: call(most_gradients_held, str(tiny.recipe), str(tiny.inputs), stage) for stage in STAGES}
    for stage in (2, 3):
        most, largest_unit, _ = held[stage]
        assert 0 < most <= largest_unit
    most, largest_unit, everything = held[1]
    assert largest_unit < most == everything


@needs_deepspeed
@pytest.mark.parametrize(("stage", "overrides"), [(1, ()), (2, ()), (3, ()), (2, (OFFLOADED,)), (3, (OFFLOADED,))])
def test_what_is_dropped_of_the_engines_own_sum_is_not_in_the_next_one(
    tiny: Tiny, stage: int, overrides: tuple[str, ...]
) -> None:
    arguments = (str(tiny.recipe), str(tiny.inputs), stage, ("train.sum=fast", *overrides))
    first, again, kept = call(sums_with_and_without_drop, *arguments)
    assert first == again
    # Only these begin each sum anew; the others would go on.
    assert (kept == first) == (stage < 3 and not overrides)


def test_without_deepspeed_the_placement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("train.needs.version", absent)
    with pytest.raises(ConfigError, match=r"need deepspeed 0\.19\.8, no deepspeed is installed"):
        check_deepspeed()
    monkeypatch.setattr("train.needs.version", lambda name: "0.20.0")
    with pytest.raises(ConfigError, match=r"deepspeed 0\.20\.0 is installed"):
        check_deepspeed()
