"""How often large jobs fail, and what the closed forms say of it.

LLAMA3      Dubey et al. 2024, arXiv:2407.21783, table 5: 419 unexpected interruptions of 16,384 H100 in 54 days; 35 of
            them network switches and cables, 6 silent data corruption
META_1K     Kokolis et al. 2024 (HPCA 2025), arXiv:2410.21680: mean time to failure 7.9 h for jobs of 1,024 A100,
            more than six times Llama 3's rate for each GPU
META_16K    the same study: 1.8 h projected for 16,384

Closed forms: Young 1974; Daly 2006, "A higher order estimate of the optimum checkpoint interval for restart dumps".
"""

import math
from enum import Enum

HOUR_S = 3600.0
NETWORK_SHARE = 35 / 419
SILENT_SHARE = 6 / 419


class Rate(Enum):
    """Failures a GPU and hour, by study."""

    LLAMA3 = 419 / (54 * 24 * 16_384)
    META_1K = 1 / (7.9 * 1_024)
    META_16K = 1 / (1.8 * 16_384)


def mttf_s(rate: Rate, gpus: int) -> float:
    """The mean time to failure of a job, in seconds: any GPU's failure is the job's."""
    return HOUR_S / (rate.value * gpus)


def daly_interval_s(stall_s: float, mttf: float) -> float:
    """The time of work between two saves that loses least (Daly 2006, eq. 37), in seconds."""
    if stall_s >= 2 * mttf:
        return mttf
    ratio = stall_s / (2 * mttf)
    return math.sqrt(2 * stall_s * mttf) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall_s


def closed_ettr(*, mttf: float, every_s: float, stall_s: float, down_s: float) -> float:
    """The expected share of time that goes into steps that stay (Daly 2006, eq. 20), failures being exponential.

    `every_s` seconds of work, then a save that holds it up for `stall_s`; after a failure `down_s` seconds until work
    goes on, in which it may fail again; what was done since the last save is lost.
    """
    return every_s / (mttf * math.exp(down_s / mttf) * math.expm1((every_s + stall_s) / mttf))
