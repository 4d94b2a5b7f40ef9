"""What torch's compiler made, kept for later starts: whole files only, whoever is killed in the middle of writing.

g++ writes a library in place, and inductor takes any file under the right name for a whole one. So every process lets
inductor work in a folder of its own, which begins with links to all that is kept, and gives back what came to it when a
whole step has run with it. A name is a hash of what it was made from (torch's sources, switches, generated code), and
what is kept lies under the hash of the profile's fingerprint besides: compiler, builds and CPU model.
"""

import fcntl
import os
import shutil
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.hashing import hash_value
from core.profile import ProfileConfig, fingerprint

# Where inductor looks for what was compiled; it reads the variable each time.
CACHE = "TORCHINDUCTOR_CACHE_DIR"
# One: inductor otherwise keeps a pool of processes, which may outlive a run that is killed.
WORKERS = "TORCHINDUCTOR_COMPILE_THREADS"
# Others of these families change what is generated, and none of them is in a profile.
FAMILIES = ("TORCHINDUCTOR_", "TORCHDYNAMO_")
OWN, NEW = ".own-", ".new-"
LOCK = ".in-use"


def kept_folder(profile: ProfileConfig) -> Path:
    """What this user keeps for a profile on machines like this one. It may be deleted at any time."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "wholegrain" / "compiled" / hash_value(fingerprint(profile))[:16]


def keep_compiled(model: nn.Module, *, kept: Path) -> None:
    """Have inductor find what is kept, and keep what it makes as soon as `model` is called a second time in its way.

    Raises ConfigError if the environment holds another of inductor's switches.
    """
    foreign = sorted(name for name in os.environ if name.startswith(FAMILIES) and name not in (CACHE, WORKERS))
    if foreign:
        raise ConfigError(f"the environment sets {foreign[0]}, which may change what is compiled; unset it")
    own = _own_folder(kept)
    os.environ |= {CACHE: str(own), WORKERS: "1"}
    # With and without a graph (heldout.py), since each is compiled by itself.
    calls = {True: count(), False: count()}

    def give_back(*_: Any) -> None:
        # Then forward, loss and any backward have been compiled, and every library has been loaded.
        if next(calls[torch.is_grad_enabled()]) == 1:
            link_files(own, kept)

    model.register_forward_pre_hook(give_back)


def link_files(source: Path, target: Path) -> None:
    """Give every file below `source` that `target` lacks its name there too: at once and whole, or not at all."""
    for path in source.rglob("*"):
        if path.is_file() and path.name != LOCK:
            name = target / path.relative_to(source)
            name.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, name)
            except FileExistsError:
                continue


@cache
def _own_folder(kept: Path) -> Path:
    """A folder of this process with everything that is kept; those of processes that have ended are removed."""
    kept.mkdir(parents=True, exist_ok=True)
    for folder in kept.parent.glob(f"{OWN}*"):
        _remove_if_left(folder)
    new = Path(mkdtemp(prefix=NEW, dir=kept.parent))
    # The lock goes with the process, however it ends; a compiler that outlives it does not inherit it.
    fcntl.flock(os.open(new / LOCK, os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    own = new.rename(new.with_name(OWN + new.name.removeprefix(NEW)))
    link_files(kept, own)
    return own


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return  # another process is just removing it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    finally:
        os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)
