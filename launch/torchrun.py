"""The command that starts the ranks of a training stage under torchrun.

torch 2.13's agent does not recover in its default settings (a restarted worker reads the dead one's address from the
store that the agent uses again), and it takes up to 30 s to stop the peers of a dead rank. So it gets no restarts:
the supervisor sees a dead rank itself, ends the generation at once and starts a new torchrun.
"""

import sys
from collections.abc import Sequence


def torchrun(arguments: Sequence[str], *, ranks: int) -> list[str]:
    """The command that runs `python -m ARGUMENTS` as `ranks` ranks on this machine."""
    agent = ["--nproc-per-node", str(ranks), "--max-restarts", "0"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [sys.executable, "-m", "torch.distributed.run", *agent, *meeting, "-m", *arguments]
