"""The command that starts the ranks of a training stage under torchrun.

torch 2.13's agent does not recover in its default settings (a restarted worker reads the dead one's address from the
store that the agent uses again), and it takes up to 30 s to stop the peers of a dead rank. So it gets no restarts:
the supervisor sees a dead rank itself, ends the generation at once and starts a new torchrun.
"""

import os
import sys
from collections.abc import Sequence

# Without it torchrun sets it itself, with a warning; a rank's number of threads is its profile's.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def torchrun(arguments: Sequence[str], *, ranks: int) -> list[str]:
    """The command that runs `python -m ARGUMENTS` as `ranks` ranks on this machine."""
    agent = ["--nproc-per-node", str(ranks), "--max-restarts", "0"]
    # Ranks speak for themselves; torchrun would leave a folder in the system's place for temporary files each time.
    agent += ["--log-dir", os.devnull]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [sys.executable, "-m", "torch.distributed.run", *agent, *meeting, "-m", *arguments]
