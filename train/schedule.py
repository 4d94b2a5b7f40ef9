"""Learning rate and bias correction as pure functions of the step, the same double on every machine.

The C library's cos and pow differ between machines in the last bit, so both are computed by mpmath with 200 bits and
rounded once.
"""

import mpmath

PRECISION_BITS = 200


def learning_rate(step: int, *, lr: float, min_lr: float, warmup_steps: int, steps: int) -> float:
    """Linear warm-up to `lr`, reached at step `warmup_steps`, then half a cosine down to `min_lr` at the last step.

    Steps count from 1 (Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts).
    """
    if step <= warmup_steps:
        return lr * step / warmup_steps
    with mpmath.workprec(PRECISION_BITS):
        progress = mpmath.mpf(step - warmup_steps) / (steps - warmup_steps)
        share = (1 + mpmath.cospi(progress)) / 2
        return float(min_lr + (mpmath.mpf(lr) - min_lr) * share)


def bias_correction(step: int, *, beta: float) -> float:
    """1 - beta^step: what a moving average that began at zero must be divided by (Kingma and Ba 2015)."""
    with mpmath.workprec(PRECISION_BITS):
        return float(1 - mpmath.mpf(beta) ** step)
