"""The command that starts the ranks of a training stage: torchrun's, DeepSpeed's agent, or Slurm's srun.

torchrun     torch 2.13's agent does not recover in its default settings (a restarted worker reads the dead one's
             address from the store that the agent uses again), and it takes up to 30 s to stop the peers of a dead
             rank. So it gets no restarts: the supervisor sees a dead rank itself, ends the generation and starts a
             new agent.
deepspeed    the agent that DeepSpeed's `deepspeed` command starts on each machine; here on this one only.
srun         ranks anywhere in the allocation; the run's folder must be on a disk that all nodes share. The supervisor
             sees their notes, but not their processes: srun ends the others when one has failed.
"""

import base64
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from core.allocator import find_tcmalloc, preloading
from core.errors import ConfigError
from core.notes import DIE_WITH_PARENT
from launch.config import AUTO, OFF, LaunchConfig, Starter

# Without it torchrun sets it itself, with a warning; a rank's number of threads is its profile's.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def environment_of(config: LaunchConfig) -> dict[str, str]:
    """What the ranks find in their environment. Raises ConfigError if the allocator that is asked for is not there."""
    if config.allocator == OFF:
        return ENVIRONMENT
    if config.allocator == AUTO:
        library = find_tcmalloc()
        return ENVIRONMENT | (preloading(library) if library else {})
    library = Path(config.allocator)
    # With srun the ranks are elsewhere.
    if config.starter is not Starter.SRUN and not library.is_file():
        raise ConfigError(f"launch.allocator is {library}, and there is no such library; give {AUTO} or {OFF}")
    return ENVIRONMENT | preloading(library)


def command_of(config: LaunchConfig, arguments: Sequence[str]) -> list[str]:
    """The command that runs `python -m ARGUMENTS` on all ranks."""
    if config.starter is Starter.SRUN:
        return srun(arguments, ranks=config.ranks, options=config.srun_options)
    start = deepspeed if config.starter is Starter.DEEPSPEED else torchrun
    return start(arguments, ranks=config.ranks)


def torchrun(arguments: Sequence[str], *, ranks: int) -> list[str]:
    """Ranks on this machine, under torch's elastic agent."""
    agent = ["--nproc-per-node", str(ranks), "--max-restarts", "0"]
    # Ranks speak for themselves; torchrun would leave a folder in the system's place for temporary files each time.
    agent += ["--log-dir", os.devnull]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [sys.executable, "-m", "torch.distributed.run", *agent, *meeting, "-m", *arguments]


def deepspeed(arguments: Sequence[str], *, ranks: int) -> list[str]:
    """Ranks on this machine, under DeepSpeed's agent."""
    hosts = base64.urlsafe_b64encode(json.dumps({"localhost": list(range(ranks))}).encode()).decode()
    meeting = ["--master_addr=127.0.0.1", f"--master_port={_free_port()}"]
    options = [f"--world_info={hosts}", *meeting, "--no_local_rank", "--log_level=error", "--module"]
    return [sys.executable, "-m", "deepspeed.launcher.launch", *options, *arguments]


def srun(arguments: Sequence[str], *, ranks: int, options: Sequence[str]) -> list[str]:
    """Ranks as tasks of a job step."""
    # The parent of a task is Slurm's daemon, which does not end when the launcher does.
    alone = ["env", "-u", DIE_WITH_PARENT]
    return ["srun", f"--ntasks={ranks}", "--kill-on-bad-exit=1", *options, *alone, sys.executable, "-m", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
