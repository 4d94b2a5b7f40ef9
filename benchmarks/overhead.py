"""Our own overheads as ratios and shares, each pair of steps beside each other in one process.

    python -m benchmarks.overhead [--size tiny] [--dtype bf16] [--ranks 1,2,3,4] [--steps 12] [--out DIR] [--set ...]

Canonical sum over our fast path by number of ranks; the whole trainer over a bare loop on the same model; digests and
ledger as shares of a step; what a checkpoint holds training up, at one every 50 steps. A ratio is the median over the
pairs, by the clock and by processor time, which other work on the machine disturbs less. --set section.key=JSON changes
the recipe. With --out what was measured stays in a folder, and another start with the same settings measures only what
is not there yet.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import OURS, SIZES, Cell, Size
from benchmarks.runner import sections
from benchmarks.tokens import write_pack, write_recipe
from core.codetree import ROOT
from core.durable import write_durably
from core.hashing import sha256_hex
from launch.starters import torchrun

MICRO_BATCHES = 4
EVERY = 50
# In a run; the steps are a multiple.
CHECKPOINTS = 3
Found = dict[str, Any]


def main() -> None:
    """Measure, and print a table in Markdown."""
    chosen = _arguments()
    size = SIZES[chosen.size]
    with tempfile.TemporaryDirectory() as folder:
        kept = chosen.out or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(folder), size, dtype=chosen.dtype, steps=chosen.steps, changes=chosen.set, kept=kept)
        sys.stdout.write(f"{size.name}, {chosen.dtype}, {bench.batch}, 1 thread a rank, {chosen.steps - 1} pairs\n\n")
        sys.stdout.write("| what | aim | clock | processor |\n|---|---|---|---|\n")
        for ranks in map(int, chosen.ranks.split(",")):
            sys.stdout.write(row_of_sums(ranks, bench.measure("sums", ranks=ranks)))
            sys.stdout.flush()
        sys.stdout.write(rows_of_loop(bench.measure("loop", ranks=1)))
        sys.stdout.write(f"\nLoad while it ran: {min(bench.loads):.1f} to {max(bench.loads):.1f}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description="our own overheads as ratios")
    parser.add_argument("--size", default="tiny", choices=sorted(SIZES))
    parser.add_argument("--dtype", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--ranks", default="1,2,3,4")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--set", nargs="*", default=[], metavar="section.key=value")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="keep what was measured, and go on there")
    chosen = parser.parse_args()
    chosen.steps = max(1, chosen.steps // CHECKPOINTS) * CHECKPOINTS
    return chosen


class Bench:
    """A pack in a folder, and recipes over it; what was measured is in the folder `kept`, by its settings.

    `batch` says what a step takes, `loads` are the machine's behind every measurement.
    """

    def __init__(self, folder: Path, size: Size, *, dtype: str, steps: int, changes: Sequence[str], kept: Path) -> None:
        self._folder, self._steps, self._kept = folder, steps, kept
        self.loads: list[float] = []
        self._pack = write_pack(folder, size, steps=steps)
        whole = sections(Cell(tool=OURS, is_compiled=True, ranks=2), size, dtype=dtype, steps=steps)
        whole["train"] |= {"micro_batches": MICRO_BATCHES, "micro_batch": size.windows // MICRO_BATCHES}
        whole["train"] |= {"save_every_steps": steps // CHECKPOINTS}
        for change in changes:
            name, _, value = change.partition("=")
            section, _, key = name.partition(".")
            whole[section][key] = json.loads(value)
        self._sections = whole
        batch = whole["train"]
        self.batch = f"micro-batches a step: {batch['micro_batches']} of {batch['micro_batch'] * size.seq_len} tokens"

    def measure(self, what: str, *, ranks: int) -> Found:
        """What benchmarks/inside.py found, and finds now unless it is kept."""
        settings = json.dumps([self._sections, what, ranks], sort_keys=True)
        kept = self._kept / f"{sha256_hex(settings.encode())[:16]}.json"
        if not kept.exists():
            measured = {"found": self._found(what, ranks=ranks), "load": os.getloadavg()[0]}
            write_durably(kept, json.dumps(measured).encode())
        told = json.loads(kept.read_bytes())
        self.loads.append(told["load"])
        read: Found = told["found"]
        return read

    def _found(self, what: str, *, ranks: int) -> Found:
        out = self._folder / f"{what}-{ranks}"
        recipe, found = out.with_suffix(".yaml"), out.with_suffix(".json")
        run = {"name": "overhead", "out": str(out), "inputs": str(self._folder)}
        write_recipe(recipe, {"run": run} | self._sections)
        profile = self._sections["profile"]
        threads = {name: str(profile["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        command = torchrun(["benchmarks.inside", what, str(recipe), str(found)], ranks=ranks)
        environment = {**os.environ, **profile["environment"], **threads}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            raise SystemExit(done.returncode)
        read: Found = json.loads(found.read_bytes())
        return read


def row_of_sums(ranks: int, found: Found) -> str:
    """Canonical over fast; the first step of each is left out."""
    told = [median_ratio(found["canonical"][kind][1:], found["fast"][kind][1:]) for kind in ("wall", "cpu")]
    words = f"{ranks} rank{'s' if ranks > 1 else ''}"
    return f"| canonical sum over the fast path, {words} | 1.05 | {told[0]:.3f} | {told[1]:.3f} |\n"


def rows_of_loop(found: Found) -> str:
    """The trainer over the bare loop, and its parts."""
    walls, cpus = zip(*found["trainer"], strict=True)
    bare_walls, bare_cpus = zip(*found["bare"], strict=True)
    ratios = f"{median_ratio(walls, bare_walls):.3f} | {median_ratio(cpus, bare_cpus):.3f}"
    rows = [f"| trainer over a bare loop on our model | 1.03 | {ratios} |"]
    step = statistics.median(walls)
    for part in ("digests of gradients", "digests of batches, ledger lines", "journal"):
        share = statistics.median(one.get(part, 0.0) / wall for one, wall in zip(found["parts"], walls, strict=True))
        rows.append(f"| {part}, of a step | together 2% | {share:.2%} | |")
    # The last step's checkpoint is waited for behind it, where no step is held up.
    stall = sum(one.get("snapshots", 0.0) for one in found["parts"][:-1]) / (CHECKPOINTS - 1)
    rows.append(f"| a checkpoint holds training up, of one step | 5% | {stall / step:.2%} | |")
    rows.append(f"| the same over {EVERY} steps | | {stall / step / EVERY:.3%} | |")
    return "\n".join(rows) + "\n"


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the pairs' ratios."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
