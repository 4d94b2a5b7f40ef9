"""Learning rates and bias corrections as exact doubles."""

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from tests.train.configs import train_config
from train.config import DecayShape, Schedule, TrainConfig
from train.schedule import bias_correction, learning_rate


def config(**changes: object) -> TrainConfig:
    return train_config(**{"lr": 4e-3, "min_lr": 4e-4, "warmup_steps": 20, "steps": 240, **changes})


def rate(step: int) -> float:
    return learning_rate(step, config())


def test_the_rate_climbs_to_its_top_and_falls_to_its_bottom() -> None:
    assert rate(1) == 4e-3 / 20
    assert rate(20) == 4e-3
    assert rate(130) == pytest.approx((4e-3 + 4e-4) / 2, rel=1e-15)
    assert rate(240) == 4e-4
    rates = [rate(step) for step in range(20, 241)]
    assert rates == sorted(rates, reverse=True)


def test_without_warm_up_the_first_step_is_already_on_the_cosine() -> None:
    assert learning_rate(1, config(lr=1.0, min_lr=0.0, warmup_steps=0, steps=2)) == 0.5


def test_a_third_of_the_way_is_three_quarters_of_the_height() -> None:
    assert learning_rate(5, config(lr=1.0, min_lr=0.0, warmup_steps=2, steps=11)) == 0.75


@pytest.mark.parametrize("schedule", Schedule)
def test_every_schedule_warms_up_alike_and_never_rises_again(schedule: Schedule) -> None:
    decay_steps = 60 if schedule is Schedule.WSD else 0
    one = config(schedule=schedule, decay_steps=decay_steps)
    rates = [learning_rate(step, one) for step in range(1, 241)]
    assert rates[:20] == [4e-3 * step / 20 for step in range(1, 21)]
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert rates[-1] == (4e-3 if schedule is Schedule.CONSTANT else 4e-4)


def test_a_line_is_half_way_down_in_the_middle() -> None:
    assert learning_rate(130, config(schedule=Schedule.LINEAR)) == pytest.approx((4e-3 + 4e-4) / 2, rel=1e-15)


def test_the_stable_part_stays_at_the_top_until_the_decay() -> None:
    one = config(schedule=Schedule.WSD, decay_steps=40)
    assert {learning_rate(step, one) for step in range(20, 201)} == {4e-3}
    assert learning_rate(210, one) == pytest.approx(4e-4 + 0.75 * 3.6e-3, rel=1e-15)
    root = config(schedule=Schedule.WSD, decay_steps=40, decay_shape=DecayShape.SQRT)
    assert learning_rate(210, root) == pytest.approx(4e-4 + 0.5 * 3.6e-3, rel=1e-15)
    assert learning_rate(200, root) == 4e-3 and learning_rate(240, root) == 4e-4


@pytest.mark.parametrize(("steps", "decay_steps"), [(240, 40), (220, 20)])
def test_a_longer_or_shorter_run_shares_the_stable_part(steps: int, decay_steps: int) -> None:
    one = config(schedule=Schedule.WSD, steps=steps, decay_steps=decay_steps)
    constant = config(schedule=Schedule.CONSTANT)
    assert [learning_rate(step, one) for step in range(1, 201)] == [
        learning_rate(step, constant) for step in range(1, 201)
    ]


@pytest.mark.parametrize("step", [1, 2, 77, 10_000])
@pytest.mark.parametrize("beta", [0.9, 0.95, 0.999])
def test_the_correction_is_rounded_once(step: int, beta: float) -> None:
    if step < 100:
        assert bias_correction(step, beta=beta) == float(1 - Fraction(beta) ** step)
    else:
        getcontext().prec = 60
        assert bias_correction(step, beta=beta) == float(1 - Decimal(beta) ** step)
