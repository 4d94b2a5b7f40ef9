import dataclasses
import random
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import gcd
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from core.codetree import ROOT
from core.config import load, resolve
from core.errors import ConfigError
from data.course import plan_course, start_sample
from data.loader import Loader
from data.mixture import PERMILLE, Phase, join_weights
from data.order import Order, StepShape, Stock
from data.packconfig import PackConfig, PhaseConfig, Unit
from tests.data.packs import write_pack

TRAIN = {"steps": 50, "micro_batches": 4, "micro_batch": 3}
ONE = StepShape(micro_batches=1, micro_batch=1)


def config(*phases: PhaseConfig, **given: Any) -> PackConfig:
    return PackConfig(seed=1, seq_len=16, phases=list(phases), **given)


def two(start: int, unit: Unit = Unit.SAMPLES) -> PackConfig:
    return config(
        PhaseConfig(name="stable", weights={"alpha": 3, "beta": 1}),
        PhaseConfig(name="anneal", weights={"beta": 1, "gamma": 2}, start=start, unit=unit),
    )


@pytest.mark.parametrize(
    ("start", "unit", "sample"),
    [
        (7, Unit.SAMPLES, 7),
        (160, Unit.TOKENS, 10),
        (161, Unit.TOKENS, 11),  # ten windows of 16 are not enough
        (3, Unit.STEPS, 36),
        (900, Unit.PERMILLE, 540),
        (901, Unit.PERMILLE, 541),  # 540.6
    ],
)
def test_a_phase_starts_at_the_sample_that_the_rule_gives(start: int, unit: Unit, sample: int) -> None:
    course = plan_course(two(start, unit), {"train": TRAIN})
    assert [phase["start"] for phase in course.phases] == [0, sample]
    assert course.facts == {"phase_starts": [0, sample]}


@pytest.mark.parametrize("unit", [Unit.STEPS, Unit.PERMILLE])
def test_steps_and_shares_need_the_length_of_the_run(unit: Unit) -> None:
    phase = two(3, unit).phases[1]
    with pytest.raises(ConfigError, match=r"anneal of pack\.phases starts at 3 .* no section train"):
        start_sample(phase, seq_len=16, run=None)
    assert start_sample(dataclasses.replace(phase, unit=Unit.TOKENS), seq_len=16, run=None) == 1


def test_without_phases_the_record_says_what_it_always_said() -> None:
    course = plan_course(PackConfig(seed=3, seq_len=16, weights={"beta": 1, "alpha": 2}), {})
    assert course.facts == {}
    assert course.record([{"name": "beta"}, {"name": "alpha"}]) == {
        "seed": 3,
        "seq_len": 16,
        "phases": [{"start": 0, "weights": {"alpha": 2, "beta": 1}}],
        "sources": [{"name": "alpha"}, {"name": "beta"}],
    }


def test_a_packed_phase_is_drawn_from_where_it_starts(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pack", two(30), documents={"alpha": 60, "beta": 60, "gamma": 60})
    loader = Loader.open(folder, micro_batches=4, micro_batch=3)
    drawn = [loader.order.sample(at + 1, 0, 0, ONE).source for at in range(90)]
    assert Counter(drawn[:30]) == {0: 23, 1: 7}
    assert Counter(drawn[30:]) == {1: 20, 2: 40}


def test_only_sources_with_a_limit_are_limited_and_the_default_is_for_the_rest() -> None:
    names = [{"name": name} for name in ("alpha", "beta", "gamma")]
    limited = {"alpha": 2, "beta": 5, "gamma": 5}
    given = dataclasses.replace(two(30), max_epochs={"alpha": 2})
    assert plan_course(given, {}).record(names)["max_epochs"] == {"alpha": 2}
    assert plan_course(dataclasses.replace(given, max_epochs_default=5), {}).record(names)["max_epochs"] == limited
    assert "max_epochs" not in plan_course(two(30), {}).record(names)


def test_training_may_go_exactly_as_far_as_the_limit(tmp_path: Path) -> None:
    given = PackConfig(seed=1, seq_len=16, weights={"alpha": 1}, max_epochs={"alpha": 2})
    folder = write_pack(tmp_path / "pack", given, documents={"alpha": 40})
    loader = Loader.open(folder, micro_batches=1, micro_batch=1)
    (windows,) = loader.order.windows
    loader.check_run(2 * windows)
    with pytest.raises(ConfigError, match=r"alpha would be gone through 2\.\d+ times .* allows 2"):
        loader.check_run(2 * windows + 1)
    free = write_pack(tmp_path / "free", dataclasses.replace(given, max_epochs={}), documents={"alpha": 40})
    Loader.open(free, micro_batches=1, micro_batch=1).check_run(10**9)


def test_training_that_ends_before_a_phase_is_refused(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pack", two(30), documents={"alpha": 60, "beta": 60, "gamma": 60})
    loader = Loader.open(folder, micro_batches=5, micro_batch=2)
    loader.check_run(4)
    with pytest.raises(ConfigError, match=r"anneal of pack\.phases starts at sample 30, but the run ends after 30"):
        loader.check_run(3)


def some_weights(source: random.Random, names: str, *, most: int = 40) -> dict[str, int]:
    return {name: source.randint(1, most) for name in names}


def test_joined_weights_give_exactly_the_share_and_keep_both_ratios() -> None:
    source = random.Random(1)
    for _ in range(500):
        base = some_weights(source, "abcdef"[: source.randint(1, 6)])
        new = some_weights(source, "uvwxyz"[: source.randint(1, 6)])
        share = source.randint(1, 999)
        joined = join_weights(base, new, share=share)
        total = sum(joined.values())
        assert Fraction(sum(joined[name] for name in base), total) == Fraction(share, PERMILLE)
        for side in (base, new):
            part = sum(joined[name] for name in side)
            assert all(Fraction(joined[n], part) == Fraction(w, sum(side.values())) for n, w in side.items())
        assert gcd(*joined.values()) == 1


def test_a_side_without_a_share_is_left_out() -> None:
    assert join_weights({"a": 4, "b": 6}, {}, share=1000) == {"a": 2, "b": 3}
    assert join_weights({"a": 4, "b": 6}, {"c": 7}, share=0) == {"c": 1}
    assert join_weights({"a": 1}, {"b": 1}, share=250) == {"a": 1, "b": 3}


def no_repeats(visits: list[tuple[int, int]], windows: int) -> bool:
    """Whether (epoch, window) in the order of visits go through all windows before any comes again."""
    epochs = [visits[at : at + windows] for at in range(0, len(visits), windows)]
    is_whole = all(len({window for _, window in epoch}) == len(epoch) for epoch in epochs)
    return is_whole and all({number for number, _ in epoch} == {at} for at, epoch in enumerate(epochs))


def visits_of(order: Order, samples: int) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in order.names}
    for at in range(samples):
        source, epoch, window = order.sample(at + 1, 0, 0, ONE)
        found[order.names[source]].append((epoch, window))
    return found


def test_no_window_comes_again_before_its_source_is_used_up_whatever_the_phases() -> None:
    source = random.Random(2)
    for _ in range(40):
        names = "abcd"[: source.randint(1, 4)]
        starts = [0, *sorted(source.sample(range(1, 300), source.randint(0, 3)))]
        phases = [Phase(start=start, weights=(1, *(source.randint(0, 9) for _ in names[1:]))) for start in starts]
        stocks = [Stock(name=name, windows=source.randint(3, 60), seed=source.randint(0, 99)) for name in names]
        order = Order(stocks, seed=1, phases=phases)
        visits = visits_of(order, 400)
        assert sum(map(len, visits.values())) == 400
        assert all(no_repeats(visits[stock.name], stock.windows) for stock in stocks)
        assert {name: len(seen) for name, seen in visits.items()} == order.drawn(400)
        assert all(abs(order.drawn(b)[n] - order.drawn(a)[n]) <= b - a for a, b in pairwise(starts) for n in names)


def test_the_look_for_repeats_finds_them() -> None:
    assert no_repeats([(0, 2), (0, 0), (0, 1), (1, 1)], 3)
    assert not no_repeats([(0, 2), (0, 0), (0, 2)], 3)
    assert not no_repeats([(0, 2), (0, 0), (0, 1), (0, 1)], 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"weights": {"alpha": 1}, "phases": two(9).phases}, "both weights and phases"),
        ({"phases": [two(9).phases[0]] * 2}, "two phases named stable"),
        ({"phases": two(9).phases[1:]}, "starts with anneal at 9; the first starts at 0"),
        ({"phases": [PhaseConfig(name="a", weights={"alpha": 0})]}, r"pack.phases\[0\].weights .* 1 or more"),
        ({"phases": [PhaseConfig(name="a")]}, r"pack.phases\[0\].weights is \{\}"),
        ({"phases": [PhaseConfig(name="a", weights={"alpha": 1}, base_share=3)]}, "there is no pack.base"),
        ({"weights": {"alpha": 99_999, "beta": 100_000}}, "coarser"),
        ({"weights": {"alpha": 1}, "max_epochs": {"alpha": 0}}, "give integers of 1 or more"),
        ({"weights": {"alpha": 1}, "max_epochs_default": -1}, "none for no limit"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PackConfig(seed=1, seq_len=16, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ""}, "no name"),
        ({"start": -1}, "give 0 or more"),
        ({"start": 1000, "unit": Unit.PERMILLE}, "0 to 999"),
        ({"base_share": 1001}, "0 to 1000"),
    ],
)
def test_a_phase_out_of_range_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PhaseConfig(**{"name": "a", "weights": {"alpha": 1}, **given})


def test_phases_out_of_order_and_names_that_are_no_source_are_refused() -> None:
    later = config(*two(40).phases, PhaseConfig(name="last", weights={"alpha": 1}, start=160, unit=Unit.TOKENS))
    with pytest.raises(ConfigError, match=r"start at samples \[0, 40, 10\]"):
        plan_course(later, {})
    with pytest.raises(ConfigError, match=r"pack\.phases has gamma, which is no source; the sources are alpha, beta"):
        plan_course(two(40), {}).check_sources(["alpha", "beta"])
    limited = dataclasses.replace(two(40), max_epochs={"delta": 1})
    with pytest.raises(ConfigError, match=r"pack\.max_epochs has delta, which has no weight"):
        plan_course(limited, {}).check_sources(["alpha", "beta", "gamma", "delta"])


@pytest.mark.parametrize("train", [{}, {**TRAIN, "steps": 0}, {**TRAIN, "micro_batch": "four"}])
def test_a_length_that_is_none_is_refused(train: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"train\.\w+ is .*; give an integer of at least 1"):
        plan_course(two(40), {"train": train})


def test_phases_are_read_from_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "train: {steps: 50, micro_batches: 4, micro_batch: 3}\n"
        "pack:\n"
        "  seed: 1\n"
        "  seq_len: 16\n"
        "  max_epochs: {beta: 4}\n"
        "  phases:\n"
        "    - {name: stable, weights: {alpha: 3, beta: 1}}\n"
        "    - {name: anneal, start: 800, unit: permille, weights: {beta: 1}}\n",
        encoding="utf-8",
    )
    course = plan_course(load(str(path), "pack", PackConfig), resolve(str(path)))
    assert course.phases == [
        {"name": "stable", "start": 0, "weights": {"alpha": 3, "beta": 1}},
        {"name": "anneal", "start": 480, "weights": {"beta": 1}},
    ]


def test_the_examples_in_the_documentation_are_sound(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if text.startswith("phases:")]
    starts = []
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        train = "train: {steps: 10000, micro_batches: 8, micro_batch: 4}\n"
        path.write_text(f"{train}pack:\n  seed: 1\n  seq_len: 1024\n{indent(example, '  ')}", encoding="utf-8")
        course = plan_course(load(str(path), "pack", PackConfig), resolve(str(path)))
        starts.append([phase["start"] for phase in course.phases])
    assert starts == [[0, 288_000], [0, 1954, 5860]]
