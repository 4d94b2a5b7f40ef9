"""Our trainer against peers: the same tokens in one run, each cell a process of its own, in turns.

    python -m benchmarks.train [--sizes tiny,small,medium] [--dtypes fp32,bf16] [--cells bar|peers|all] [--rounds N] ...

Every round runs every cell once, every other round in the opposite order. A cell's tokens per second are the median of
its steps after the first, then of the rounds; ratios are taken within a round. All have two threads: ours as one rank
with two (a profile of its own: threads are identity) and as two ranks with one. Memory is VmHWM, summed over ranks,
which counts what they share twice. Ours is the whole of `python -m train run` with ledger and digests; its last step,
which saves, is left out. Peers may live in an environment of their own (--peers-python and requirements-train.txt); one
that is not installed is left out and named. tcmalloc is the system's, or fetched by apt-get without installing it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cells import CELLS, OURS, PLAIN, SIZES, Cell, Size
from benchmarks.runner import Runner
from core.codetree import ROOT
from core.profile import cpu_field
from core.progress import Progress

Found = dict[str, Any]
# Steps after the first of a round, where --steps does not say.
STEPS = {"tiny": 4, "small": 2, "medium": 1}
THREADS = 2
# What tells a measurement from the others.
NAMED = ("label", "size", "dtype", "round")


def main() -> None:
    """Run the benchmark; print the table, and write it and every number beside it."""
    chosen = _arguments()
    chosen.out.mkdir(parents=True, exist_ok=True)
    profile = {name: json.loads(value) for name, value in (change.split("=", 1) for change in chosen.profile)}
    runner = Runner(chosen.out.resolve(), peers_python=chosen.peers_python, tcmalloc=chosen.tcmalloc, profile=profile)
    cells = [cell for cell in CELLS[chosen.cells] if chosen.only in cell.label]
    cells = [PLAIN, *(cell for cell in cells if cell != PLAIN and (runner.library or not cell.is_preloaded))]
    if not runner.library:
        sys.stderr.write("tcmalloc is neither here nor to be had: its cells are left out\n")
    before = measured_peaks()
    results = run_all(chosen, runner, cells)
    peaks = {name: max(before[name], peak) for name, peak in measured_peaks().items()}
    _write(chosen.out, {"machine": machine(), "peaks": peaks, "results": results})
    text = report(results, peaks=peaks)
    (chosen.out / "results.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def run_all(chosen: argparse.Namespace, runner: Runner, cells: Sequence[Cell]) -> list[Found]:
    """Every cell in every round, with the load of the machine behind it."""
    blocks = [(SIZES[size], dtype) for size in chosen.sizes.split(",") for dtype in chosen.dtypes.split(",")]
    progress = Progress("benchmark", total=chosen.rounds * len(blocks) * len(cells), unit="cells")
    results: list[Found] = kept_results(chosen.out) if chosen.resume else []
    kept = [[one[name] for name in NAMED] for one in results]
    for size, dtype in blocks:
        for number in range(chosen.rounds):
            for cell in cells if number % 2 == 0 else cells[::-1]:
                if [cell.label, size.name, dtype, number] in kept:
                    progress.advance()
                    continue
                found = runner.run(cell, size, dtype=dtype, steps=1 + (chosen.steps or STEPS[size.name]))
                told = {"label": cell.label, "size": size.name, "dtype": dtype, "round": number}
                results.append({**asdict(cell), **told, "load": os.getloadavg()[0], **found})
                _write(chosen.out, {"machine": machine(), "results": results})
                progress.advance()
    return results


def kept_results(out: Path) -> list[Found]:
    """Those of a benchmark that was cut short; a cell that was left out is tried again."""
    file = out / "results.json"
    results: list[Found] = json.loads(file.read_bytes())["results"] if file.exists() else []
    return [one for one in results if "seconds" in one]


def _write(out: Path, whole: Found) -> None:
    """Every number, after every cell, so that a run that is cut short was not in vain."""
    (out / "results.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description="our trainer against peers")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of tiny, small, medium")
    parser.add_argument("--dtypes", default="bf16", help="of fp32, bf16")
    parser.add_argument("--steps", type=int, default=0, help="timed steps of a process, after the first")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cells", choices=sorted(CELLS), default="bar", help="bar: transformers and ours only")
    parser.add_argument("--only", default="", help="cells with this in their name, and the plain loop")
    parser.add_argument("--resume", action="store_true", help="keep what --out has, measured with the same settings")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmarks" / "train")
    parser.add_argument("--peers-python", default=sys.executable, help="an interpreter that has the peers")
    parser.add_argument("--tcmalloc", type=Path, default=None, help="the library, if it is not the system's")
    parser.add_argument("--profile", nargs="*", default=[], metavar="key=JSON", help="changes to our profile native")
    return parser.parse_args()


def measured_peaks() -> dict[str, float]:
    """FLOP per second of the best matrix product of each type (limit.py)."""
    command = [sys.executable, "-m", "benchmarks.limit", str(THREADS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peaks: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def machine() -> dict[str, Any]:
    """What the numbers are of."""
    return {"cpu": cpu_field("model name"), "cores": os.cpu_count(), "python": platform.python_version()}


def report(results: Sequence[Found], *, peaks: Mapping[str, float]) -> str:
    """Tables in Markdown, one a size and type, and what was left out."""
    parts = []
    for size, dtype in dict.fromkeys((one["size"], one["dtype"]) for one in results):
        own = [one for one in results if (one["size"], one["dtype"]) == (size, dtype)]
        parts.append(table(own, SIZES[size], dtype=dtype, peak=peaks[dtype]))
    loads = [one["load"] for one in results]
    words = ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items())
    tail = f"Peak of matrix products: {words}. Load while it ran: {min(loads):.1f} to {max(loads):.1f}.\n"
    failed = dict.fromkeys(f"{one['label']}: {one['missing']}" for one in results if "missing" in one)
    return "\n".join([*parts, tail, *(f"Left out: {line}\n" for line in failed)])


def table(results: Sequence[Found], size: Size, *, dtype: str, peak: float) -> str:
    """One size and type."""
    rows = [
        f"### {size.name} ({size.parameters / 1e6:.0f} M parameters), {dtype}, {size.tokens} tokens a step\n",
        "| tool | tokens/s | to the plain loop | of the peak | peak memory | to the plain loop |",
        "|---|---|---|---|---|---|",
    ]
    plain = {one["round"]: one for one in results if one["label"] == PLAIN.label and "seconds" in one}
    for label in dict.fromkeys(one["label"] for one in results):
        own = [one for one in results if one["label"] == label and "seconds" in one]
        if not own:
            continue
        speed = statistics.median(size.tokens / one["seconds"] for one in own)
        memory = statistics.median(one["memory"] for one in own)
        pairs = [(one, plain[one["round"]]) for one in own if one["round"] in plain]
        faster = statistics.median(base["seconds"] / one["seconds"] for one, base in pairs) if pairs else float("nan")
        larger = statistics.median(one["memory"] / base["memory"] for one, base in pairs) if pairs else float("nan")
        share = speed * size.flops_per_token / peak
        name = f"**{label}**" if label.startswith(OURS) else label
        rows.append(f"| {name} | {speed:.0f} | {faster:.2f} | {share:.0%} | {memory / 1e6:.0f} MB | {larger:.2f} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
