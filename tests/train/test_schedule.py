"""Learning rates and bias corrections as exact doubles."""

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from train.schedule import bias_correction, learning_rate


def rate(step: int) -> float:
    return learning_rate(step, lr=4e-3, min_lr=4e-4, warmup_steps=20, steps=240)


def test_the_rate_climbs_to_its_top_and_falls_to_its_bottom() -> None:
    assert rate(1) == 4e-3 / 20
    assert rate(20) == 4e-3
    assert rate(130) == pytest.approx((4e-3 + 4e-4) / 2, rel=1e-15)
    assert rate(240) == 4e-4
    rates = [rate(step) for step in range(20, 241)]
    assert rates == sorted(rates, reverse=True)


def test_without_warm_up_the_first_step_is_already_on_the_cosine() -> None:
    assert learning_rate(1, lr=1.0, min_lr=0.0, warmup_steps=0, steps=2) == 0.5


def test_a_third_of_the_way_is_three_quarters_of_the_height() -> None:
    assert learning_rate(5, lr=1.0, min_lr=0.0, warmup_steps=2, steps=11) == 0.75


@pytest.mark.parametrize("step", [1, 2, 77, 10_000])
@pytest.mark.parametrize("beta", [0.9, 0.95, 0.999])
def test_the_correction_is_rounded_once(step: int, beta: float) -> None:
    if step < 100:
        assert bias_correction(step, beta=beta) == float(1 - Fraction(beta) ** step)
    else:
        getcontext().prec = 60
        assert bias_correction(step, beta=beta) == float(1 - Decimal(beta) ** step)
