"""The simulator against the closed form, within its own statistical error; and what a design must not make worse."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from core.errors import ConfigError
from launch.account import Kind
from launch.failures import HOUR_S, Rate, closed_ettr, daly_interval_s, mttf_s
from launch.simulate import DESIGNS, Design, main, mean_account, overview, simulate

SEEDS, DAYS = 40, 54.0
PLAIN = Design(is_plain=True, save_every_s=HOUR_S, stall_s=60, write_s=0, restart_s=300, spares=0)


def simulated(design: Design, gpus: int) -> tuple[float, float]:
    """The mean share of steps that stay over many runs, and its standard error."""
    shares = [simulate(design, gpus=gpus, rate=Rate.LLAMA3, days=DAYS, seed=seed).goodput for seed in range(SEEDS)]
    return fmean(shares), stdev(shares) / math.sqrt(SEEDS)


def closed(design: Design, gpus: int) -> float:
    return closed_ettr(
        mttf=mttf_s(Rate.LLAMA3, gpus), every_s=design.save_every_s, stall_s=design.stall_s, down_s=design.restart_s
    )


@pytest.mark.parametrize("gpus", [1_024, 16_384, 24_000])
@pytest.mark.parametrize("minutes", [5, 15, 60])
def test_plain_runs_agree_with_the_closed_form(gpus: int, minutes: int) -> None:
    design = replace(PLAIN, save_every_s=minutes * 60.0)
    mean, error = simulated(design, gpus)
    assert error < 0.005
    # Four standard errors: nine such draws are all inside in 99.9 of 100 cases, and the seeds are fixed.
    assert abs(mean - closed(design, gpus)) < 4 * error


def test_another_restart_time_is_told_apart() -> None:
    mean, error = simulated(PLAIN, 24_000)
    assert abs(mean - closed(replace(PLAIN, restart_s=600), 24_000)) > 4 * error


@pytest.mark.parametrize("stall_s", [0.5, 2.0, 60.0])
def test_daly_s_interval_is_the_best_of_the_closed_form(stall_s: float) -> None:
    mttf = mttf_s(Rate.LLAMA3, 24_000)
    best = daly_interval_s(stall_s, mttf)
    shares = [
        closed_ettr(mttf=mttf, every_s=best * factor, stall_s=stall_s, down_s=60)
        for factor in (0.8, 0.95, 1, 1.05, 1.25)
    ]
    assert max(shares) == shares[2]


def test_the_studies_rates_give_back_the_studies_figures() -> None:
    assert 54 * 24 * HOUR_S / mttf_s(Rate.LLAMA3, 16_384) == pytest.approx(419)
    assert mttf_s(Rate.META_1K, 1_024) == pytest.approx(7.9 * HOUR_S)
    assert mttf_s(Rate.META_16K, 16_384) == pytest.approx(1.8 * HOUR_S)


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS.keys())
def test_every_second_is_counted_once(design: Design) -> None:
    account = simulate(design, gpus=24_000, rate=Rate.META_1K, days=10, seed=3)
    longest = design.hang_s + design.restart_s + design.schedule_s
    assert 10 * 24 * HOUR_S <= account.total < 10 * 24 * HOUR_S + 10 * longest
    assert min(account.seconds.values()) >= 0


def test_each_design_choice_helps_and_shows_in_its_own_column() -> None:
    accounts = [mean_account(one, gpus=24_000, rate=Rate.META_16K, days=54, seeds=5) for one in DESIGNS.values()]
    requeued, daly, spares, watched, replicated, quick, shrunk = accounts
    goodputs = [account.goodput for account in accounts[:6]]
    assert goodputs == sorted(goodputs)
    assert daly.share(Kind.REDO) < requeued.share(Kind.REDO)
    assert requeued.share(Kind.WAIT) > 0 == spares.share(Kind.WAIT)
    assert watched.share(Kind.DETECT) < spares.share(Kind.DETECT) / 3
    assert replicated.share(Kind.REDO) < watched.share(Kind.REDO) / 5
    assert quick.share(Kind.RESTART) < replicated.share(Kind.RESTART) / 3
    assert shrunk.share(Kind.SHRUNK) > 0 == quick.share(Kind.SHRUNK)


def test_the_same_seed_gives_the_same_account_and_another_one_another() -> None:
    first, again, other = (
        simulate(PLAIN, gpus=16_384, rate=Rate.LLAMA3, days=5, seed=seed).seconds for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_table_has_a_column_a_size() -> None:
    header, failing, *rows = overview([16, 24_000], rate=Rate.LLAMA3, days=5, seeds=2).splitlines()
    assert header.endswith("16 GPUs    24,000 GPUs") and failing.endswith("3,167.3 h  2.1 h")
    assert len(rows) == len(DESIGNS)


@pytest.mark.parametrize("wrong", [["--rate", "best"], ["--gpus", "many"], ["--gpus", "0"], ["smoke"], ["--year"]])
def test_what_is_not_understood_is_refused(wrong: list[str]) -> None:
    with pytest.raises(ConfigError):
        main(wrong)
