"""What a rank really held and sent, as the kernel counts it: for tests of the plan.

The C library is told to give every piece of 64 kB or more back to the kernel at once, so that a process is as large as
what it has asked for and not yet given back: its heap keeps no holes, whose size differs from machine to machine. What
was written to sockets is counted by the kernel too (/proc/self/io); nothing else is written during a first step.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.codetree import ROOT
from core.profile import apply
from launch.starters import torchrun
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny
from train.held import Cluster
from train.memory import Memory, memory
from train.recipe import Recipe, read_recipe
from train.run import main
from train.traffic import Sent, sent

# mallopt(3): M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
MMAP_THRESHOLD, TRIM_THRESHOLD, PIECE = -3, -1, 1 << 16
SEEN = "seen-rank{rank}.json"
# A model of nearly nothing: what a process needs for any.
NOTHING = (
    *("model.dim=32", "model.n_layers=2", "model.n_heads=4", "model.n_kv_heads=2", "model.ffn_dim=64"),
    *("model.vocab_size=512", "train.micro_batch=1"),
)
# A hang, not a time: a compiled run on few shared cores takes minutes.
DEADLINE_S = 1200.0


@dataclass(frozen=True)
class Case:
    """A placement: its overrides, ranks, and how many of them are a node."""

    overrides: tuple[str, ...]
    ranks: int
    node_ranks: int = 1

    @property
    def cluster(self) -> Cluster:
        """As the plan wants it."""
        return Cluster(ranks=self.ranks, node_ranks=self.node_ranks)


@dataclass(frozen=True)
class Seen:
    """The largest of the ranks' figures, in bytes, and what was planned."""

    peak: int
    sent: int
    recipe: Recipe
    planned: Memory
    planned_sent: Sent


def measure(tiny: Tiny, folder: Path, case: Case, shape: Sequence[str], *, seq_len: int = 32) -> Seen:
    """Train a model of nearly nothing, then one of this shape in the same processes: two steps, a commit after each.

    `peak` is what the second needed more than the first had left behind. DeepSpeed starts once a process only: there,
    what the second's processes needed more than the first's.
    """
    runs = [
        tiny.arguments(folder / name, *case.overrides, "train.steps=2", "train.warmup_steps=1", *more)
        for name, more in (("none", ()), ("shape", (*shape, "train.save_every_steps=1")))
    ]
    recipe = read_recipe(runs[1][0], runs[1][1:])
    is_apart = recipe.train.placement.deepspeed_stage > 0
    for together in [[run] for run in runs] if is_apart else [runs]:
        ended = run_ranks(case.ranks, watched, together, notes=folder / "notes")
        assert ended.exit_codes == [0] * case.ranks, ended.messages
    seen = _seen(folder / "shape", case.ranks)
    plain = max(one["peak"] - one["before"] for one in _seen(folder / "none", case.ranks)) if is_apart else 0
    return Seen(
        peak=max(one["peak"] - one["before"] for one in seen) - plain,
        sent=max(one["sent"] for one in seen),
        recipe=recipe,
        planned=memory(recipe, cluster=case.cluster, seq_len=seq_len),
        planned_sent=sent(recipe, cluster=case.cluster),
    )


def measure_alone(arguments: Sequence[str], *, folder: Path, is_returning: bool, ranks: int = 1) -> int:
    """The bytes of the largest of a run's processes, which are fresh ones with the profile's own environment.

    With `is_returning` as `measure` counts them; without, all that a process as it is ever had, with Python and torch.
    """
    none = [*arguments, *NOTHING, f"run.out={folder / 'none'}"] if is_returning else None
    spec = {"runs": [run for run in (none, [*arguments, f"run.out={folder / 'shape'}"]) if run]}
    words = ["tests.train.peaks", json.dumps(spec | {"is_returning": is_returning})]
    command = [sys.executable, "-m", *words] if ranks == 1 else torchrun(words, ranks=ranks)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return max(one["peak"] - one["before"] for one in _seen(folder / "shape", ranks))


def _seen(out: Path, ranks: int) -> list[dict[str, int]]:
    return [json.loads((out / SEEN.format(rank=rank)).read_bytes()) for rank in range(ranks)]


def watched(arguments: Sequence[str], *, is_returning: bool = True) -> None:
    """Verb run, with notes of what the kernel saw of it, in the run's folder."""
    # Here, since it imports torch.
    from train import loop
    from train.step import Job, Numbers
    from train.step import take_step as take

    written = []

    def take_step(job: Job, step: int) -> Numbers:
        before = _figure("io", "wchar")
        numbers = take(job, step)
        written.append(_figure("io", "wchar") - before)
        return numbers

    loop.take_step = take_step  # type: ignore[attr-defined]
    before = _begin_returning() if is_returning else 0
    main(arguments)
    seen: dict[str, Any] = {"before": before, "peak": 1024 * _figure("status", "VmHWM"), "sent": written[0]}
    out = next(Path(one.removeprefix("run.out=")) for one in reversed(arguments) if one.startswith("run.out="))
    (out / SEEN.format(rank=os.environ.get("RANK", "0"))).write_text(json.dumps(seen))


def _begin_returning() -> int:
    """Have the heap keep nothing and the kernel's mark begin anew; returns the bytes that the process has now."""
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, PIECE)
    library.mallopt(TRIM_THRESHOLD, PIECE)
    gc.collect()
    library.malloc_trim(0)
    before = 1024 * _figure("status", "VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return before


def _figure(file: str, name: str) -> int:
    rows = Path("/proc/self", file).read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{name}:"))


def _run_alone(text: str) -> None:
    spec = json.loads(text)
    recipe, *overrides = spec["runs"][-1]
    # Before anything imports torch.
    apply(read_recipe(recipe, overrides).profile)
    for arguments in spec["runs"]:
        watched(arguments, is_returning=spec["is_returning"])


if __name__ == "__main__":
    _run_alone(sys.argv[1])
