"""Learning rate and bias correction as pure functions of the step, the same double on every machine.

The C library's cos and pow differ between machines in the last bit, so both are computed by mpmath with 200 bits and
rounded once.
"""

from collections.abc import Callable

import mpmath

from train.config import DecayShape, Schedule, TrainConfig

PRECISION_BITS = 200


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate of a step, counted from 1: linear warm-up to `lr`, reached at `warmup_steps`, then the schedule.

    Every schedule but CONSTANT comes to `min_lr` at the last step.
    """
    if step <= config.warmup_steps:
        return config.lr * step / config.warmup_steps
    return SCHEDULES[config.schedule](step, config)


def _cosine(step: int, config: TrainConfig) -> float:
    """Half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts)."""
    with mpmath.workprec(PRECISION_BITS):
        progress = mpmath.mpf(step - config.warmup_steps) / (config.steps - config.warmup_steps)
        return _between(config, (1 + mpmath.cospi(progress)) / 2)


def _linear(step: int, config: TrainConfig) -> float:
    with mpmath.workprec(PRECISION_BITS):
        return _between(config, mpmath.mpf(config.steps - step) / (config.steps - config.warmup_steps))


def _constant(step: int, config: TrainConfig) -> float:
    return config.lr


def _warmup_stable_decay(step: int, config: TrainConfig) -> float:
    """Constant until the last `decay_steps` steps (Hu et al. 2024, arXiv:2404.06395, section 4.2).

    The decay is a line, or 1 - sqrt(progress) (Haegele et al. 2024, arXiv:2405.18392, section 3.1).
    """
    decayed = step - (config.steps - config.decay_steps)
    if decayed <= 0:
        return config.lr
    with mpmath.workprec(PRECISION_BITS):
        progress = mpmath.mpf(decayed) / config.decay_steps
        return _between(config, 1 - (mpmath.sqrt(progress) if config.decay_shape is DecayShape.SQRT else progress))


def _between(config: TrainConfig, share: mpmath.mpf) -> float:
    return float(config.min_lr + (mpmath.mpf(config.lr) - config.min_lr) * share)


SCHEDULES: dict[Schedule, Callable[[int, TrainConfig], float]] = {
    Schedule.COSINE: _cosine,
    Schedule.WSD: _warmup_stable_decay,
    Schedule.LINEAR: _linear,
    Schedule.CONSTANT: _constant,
}


def bias_correction(step: int, *, beta: float) -> float:
    """1 - beta^step: what a moving average that began at zero must be divided by (Kingma and Ba 2015)."""
    with mpmath.workprec(PRECISION_BITS):
        return float(1 - mpmath.mpf(beta) ** step)
