"""Accepts or refuses a numerics profile on the machine at hand: profile cuda on 1 to 8 GPUs.

`python -m benchmarks.gpu_acceptance RECIPE [--device cuda|cpu] [--ranks 1,2,4,8] [--placements all|zero1,fsdp2,...]
[--optimizer adamw|muon] [--deadline-s N] [--peak-tflops N] [--out FOLDER] [--json FILE] [key=value ...]`, where
RECIPE's tokens are packed already (its stages up to `pack` have been run). A recipe of conf/ is taken with
`profile=cuda`; `--device cpu` keeps the recipe's own. Placements are those of `train.placement`, fsdp2-kept (weights
kept behind the forward) and deepspeed1-host to deepspeed3-host (optimizer state on the host); of `all`, DeepSpeed's are
left out, and named, where it is not installed. A run that is not done in --deadline-s is ended with all its processes
and fails.

    doctor   every kernel of the recipe gives its bits again, whole and in slices (`train doctor`)
    grid     one trajectory head and one hash of weights over all numbers of ranks and placements
    kill     the largest world is killed half-way, and the smallest one, placed otherwise, goes on to the same head
    again    the first cell once more, in a fresh folder, gives the same artifact
    speed    tokens a second, and their share of the peak of matrix products: measured here, or --peak-tflops a device

The table ends with ACCEPT or REFUSE; exit code 65 is refused. No GPU was at hand when this was written: with `--device
cpu` the script itself has been tried, never with a GPU.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.arguments import take
from core.codetree import ROOT
from core.errors import ConfigError, DeterministicError, ProjectError
from core.journal import read_journal
from core.profile import Compute, Device
from launch.drills.scene import descendants
from train.needs import check_deepspeed
from train.recipe import Recipe, read_recipe, window_tokens

ALL = "all"
USAGE = "python -m benchmarks.gpu_acceptance RECIPE [--device cuda|cpu] [--ranks 1,2] [key=value ...]"
OPTIONS = {
    "--device": "cuda",
    "--ranks": "1,2,4,8",
    "--placements": ALL,
    "--optimizer": "",
    "--deadline-s": "3600",
    "--peak-tflops": "0",
    "--out": "runs/acceptance",
    "--json": "-",
}
OURS = ("replicated", "zero1", "fsdp2", "fsdp2-kept", "hsdp")
DEEPSPEED = tuple(f"deepspeed{stage}{host}" for stage in (1, 2, 3) for host in ("", "-host"))
VARIANTS = {"kept": "train.is_resharded=false", "host": "train.is_optimizer_offloaded=true"}
PRODUCT_SIZES = {Device.CPU: 1024, Device.CUDA: 8192}
PRODUCTS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: how many ranks, placed how."""

    ranks: int
    placement: str

    @property
    def overrides(self) -> list[str]:
        """What a recipe needs for it; nodes of hsdp are halves of the ranks."""
        nodes = [f"train.node_ranks={max(1, self.ranks // 2)}"] if self.placement == "hsdp" else []
        placement, _, variant = self.placement.partition("-")
        return [f"train.placement={placement}", *([VARIANTS[variant]] if variant else []), *nodes]

    def __str__(self) -> str:
        return f"{self.placement} on {self.ranks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    trajectory_head: str
    weights: str
    artifact: str
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; verdicts are PASS, FAIL and NOTE."""

    check: str
    verdict: str
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The recipe under test, and where its runs lie."""

    recipe: str
    overrides: Sequence[str]
    config: Recipe
    out: Path
    deadline_s: float = 3600.0

    def arguments(self, name: str, cell: Cell) -> list[str]:
        """The arguments of `train run` for a run into its own folder."""
        inputs = [f"run.inputs={self.config.run.inputs_folder}"]
        return [self.recipe, *inputs, *self.overrides, f"run.out={self.out / name}", *cell.overrides]

    def start(self, name: str, cell: Cell) -> "subprocess.Popen[bytes]":
        """Start a run's ranks; what they say goes to a file beside it."""
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(cell.ranks)]
        alone = cell.ranks == 1
        command = [sys.executable, *([] if alone else several), "-m", "train", "run", *self.arguments(name, cell)]
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def run(self, name: str, cell: Cell) -> Result | str:
        """Run to the end; where it fails, why."""
        process = self.start(name, cell)
        try:
            code = process.wait(self.deadline_s)
        except subprocess.TimeoutExpired:
            return f"not done in {self.deadline_s:g} s, ended (see {self.out / name}.log)"
        finally:
            if process.returncode is None:
                end(process)
        if code:
            return f"exit code {code} (see {self.out / name}.log)"
        pointer = json.loads((self.out / name / "train.json").read_bytes())
        folder = self.out / name / pointer["folder"]
        facts = json.loads((folder / "artifact.json").read_bytes())["facts"]
        finished = [line for line in read_journal(journal_of(folder, 0)) if line["event"] == "step.finished"]
        rates = [float(line["tokens_per_s"]) for line in finished]
        return Result(
            trajectory_head=facts["trajectory_head"],
            weights=facts["weights_sha256"],
            artifact=pointer["digest"],
            tokens_per_s=statistics.median(rates[len(rates) // 2 :]),
        )

    def kill(self, name: str, cell: Cell) -> str:
        """Run half of the steps, then end the last rank with SIGKILL; returns why that failed, or nothing."""
        process = self.start(name, cell)
        deadline = time.monotonic() + self.deadline_s
        try:
            while process.poll() is None and time.monotonic() < deadline:
                pid = self._past_half(name, cell)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    process.wait(self.deadline_s)
                    return ""
                time.sleep(0.01)
            why = "was not half-way" if process.poll() is None else f"ended with exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            why = "did not end when its last rank had been killed"
        finally:
            if process.returncode is None:
                end(process)
        return f"it {why}, within {self.deadline_s:g} s (see {self.out / name}.log)"

    def _past_half(self, name: str, cell: Cell) -> int:
        """The last rank's process, if it has done half of the steps; else 0."""
        for folder in (self.out / name).glob(".train-*.part"):
            lines = read_journal(journal_of(folder, cell.ranks - 1))
            steps = [line["step"] for line in lines if line["event"] == "step.finished"]
            pids = [line["pid"] for line in lines if line["event"] == "run.started"]
            if pids and steps and steps[-1] >= self.config.train.steps // 2:
                return int(pids[-1])
        return 0


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a run's starter and all its ranks, which torchrun has put into groups of their own."""
    for pid in (*descendants(process.pid), process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def main(arguments: Sequence[str]) -> None:
    """Try everything and print the table. Raises DeterministicError if the profile is refused."""
    given, rest = take(arguments, values=list(OPTIONS))
    options = OPTIONS | given
    if not rest or "=" in rest[0]:
        raise ConfigError(f"no recipe given; usage: {USAGE}")
    device = _device(options["--device"])
    is_named = not rest[0].endswith((".yaml", ".yml"))
    taken = ["profile=cuda"] if device is Device.CUDA and is_named else []
    optimizer = [f"train.optimizer={options['--optimizer']}"] if options["--optimizer"] else []
    overrides = [*taken, *optimizer, *rest[1:]]
    config = read_recipe(rest[0], overrides)
    if config.profile.device is not device:
        raise ConfigError(
            f"profile.device is {config.profile.device.value}, --device {device.value}; make them the same"
        )
    root = Path(options["--out"]).absolute()
    root.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        recipe=rest[0],
        overrides=overrides,
        config=config,
        out=Path(tempfile.mkdtemp(dir=root)),
        deadline_s=_number(options["--deadline-s"], "--deadline-s"),
    )
    placements, left_out = placements_of(options["--placements"])
    cells = cells_of(options["--ranks"], placements, most=config.train.micro_batches)
    rows, found = examine(bench, cells)
    rows += [Row("left out", "NOTE", left_out)] if left_out else []
    peak = _number(options["--peak-tflops"], "--peak-tflops") * 1e12 or measured_peak(config)
    seq_len = window_tokens(rest[0], overrides, recipe=config)
    rows += [speed(cell, result, config.model.flops_per_token(seq_len), peak) for cell, result in found.items()]
    accepted = is_accepted(rows)
    write(rows, found, accepted=accepted, path=options["--json"], config=config)
    if not accepted:
        raise DeterministicError(
            f"profile {config.profile.name} is refused on this machine; the runs are in {bench.out}"
        )


def examine(bench: Bench, cells: Sequence[Cell]) -> tuple[list[Row], dict[Cell, Result]]:
    """Doctor, grid, kill and the first cell again."""
    command = [sys.executable, "-m", "train", "doctor", bench.recipe, *bench.overrides]
    tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = (tried.stderr.strip().splitlines() or ["every kernel of the recipe holds"])[-1]
    rows = [Row("doctor", "FAIL" if tried.returncode else "PASS", told)]
    if tried.returncode:
        return rows, {}
    found: dict[Cell, Result | str] = {}
    for number, cell in enumerate(cells):
        found[cell] = bench.run(f"cell{number}", cell)
    rows.append(judge_grid(found))
    first = found[cells[0]]
    if isinstance(first, Result):
        rows += [_killed(bench, cells, first), _again(bench, cells[0], first)]
    return rows, {cell: result for cell, result in found.items() if isinstance(result, Result)}


def judge_grid(found: dict[Cell, Result | str]) -> Row:
    """Whether all cells ended, with one trajectory head and one hash of weights."""
    failed = [f"{cell}: {result}" for cell, result in found.items() if isinstance(result, str)]
    if failed:
        return Row("grid", "FAIL", "; ".join(failed))
    kinds: dict[tuple[str, str], list[str]] = {}
    for cell, result in found.items():
        assert isinstance(result, Result)
        kinds.setdefault((result.trajectory_head, result.weights), []).append(str(cell))
    if len(kinds) > 1:
        told = " against ".join(f"{', '.join(cells)}: {head[:12]}" for (head, _), cells in kinds.items())
        return Row("grid", "FAIL", told)
    ((head, _),) = kinds
    return Row("grid", "PASS", f"{len(found)} cells with trajectory head {head[:12]}")


def is_accepted(rows: Sequence[Row]) -> bool:
    """Whether everything was tried, and nothing failed."""
    tried = {row.check for row in rows if row.verdict == "PASS"}
    return {"doctor", "grid", "kill", "again"} <= tried and all(row.verdict != "FAIL" for row in rows)


def speed(cell: Cell, result: Result, flops_per_token: int, peak: float) -> Row:
    """Throughput and model FLOPs utilization (Chowdhery et al. 2022, appendix B) of a cell."""
    share = result.tokens_per_s * flops_per_token / (cell.ranks * peak)
    return Row(f"speed {cell}", "NOTE", f"{result.tokens_per_s:,.0f} tokens/s, MFU {share:.1%}")


def placements_of(text: str) -> tuple[list[str], str]:
    """The placements to try, by commas or "all", and which of all are left out and why. Raises ConfigError."""
    if text != ALL:
        unknown = sorted(set(text.split(",")) - {*OURS, *DEEPSPEED})
        if unknown:
            raise ConfigError(f"--placements has {unknown[0]!r}; there are {', '.join((*OURS, *DEEPSPEED))}")
        return text.split(","), ""
    try:
        check_deepspeed()
    except ConfigError as error:
        return list(OURS), f"{', '.join(DEEPSPEED)}: {error}"
    return [*OURS, *DEEPSPEED], ""


def cells_of(ranks: str, placements: Sequence[str], *, most: int) -> list[Cell]:
    """The cells of the grid, the smallest first; no more ranks than a step has micro-batches."""
    sizes = sorted({int(_number(text, "--ranks")) for text in ranks.split(",")})
    taken = [size for size in sizes if size <= most]
    if not taken or taken[0] < 1:
        raise ConfigError(f"--ranks is {ranks}; give numbers from 1 to train.micro_batches {most}")
    return [Cell(size, placement) for size in taken for placement in placements]


def measured_peak(config: Recipe) -> float:
    """Operations a second of one device in the largest product of a few, in the type that the profile computes in."""
    import torch

    profile, size = config.profile, PRODUCT_SIZES[config.profile.device]
    torch.set_num_threads(profile.threads)
    dtype = torch.bfloat16 if profile.compute is Compute.BF16 else torch.float32
    left, right = (torch.ones(size, size, dtype=dtype, device=profile.device.value) for _ in range(2))
    seconds = []
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        float((left @ right)[0, 0])  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds)


def write(rows: Sequence[Row], found: dict[Cell, Result], *, accepted: bool, path: str, config: Recipe) -> None:
    """Print the table, and write everything as JSON if a file is given."""
    width = max(len(row.check) for row in rows)
    lines = [f"{row.verdict}  {row.check:<{width}}  {row.told}" for row in rows]
    sys.stdout.write("\n".join([*lines, f"{'ACCEPT' if accepted else 'REFUSE'}  profile {config.profile.name}", ""]))
    if path == OPTIONS["--json"]:
        return
    whole: dict[str, Any] = {
        "accepted": accepted,
        "profile": config.facts["profile"],
        "rows": [asdict(row) for row in rows],
        "cells": [{**asdict(cell), **asdict(result)} for cell, result in found.items()],
    }
    Path(path).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def journal_of(folder: Path, rank: int) -> Path:
    """A rank's journal in a run's folder."""
    return folder / "witness" / f"journal-rank{rank}.jsonl"


def _killed(bench: Bench, cells: Sequence[Cell], first: Result) -> Row:
    """Kill the last cell of the grid half-way, and go on as the first."""
    killed, on = cells[-1], cells[0]
    result: Result | str = bench.kill("killed", killed) or bench.run("killed", on)
    if isinstance(result, str):
        return Row("kill", "FAIL", f"{killed} killed, {on} to go on: {result}")
    is_same = (result.trajectory_head, result.weights) == (first.trajectory_head, first.weights)
    told = f"{killed} was killed, {on} went on to {'the same' if is_same else 'another'} head"
    return Row("kill", "PASS" if is_same else "FAIL", told)


def _again(bench: Bench, cell: Cell, first: Result) -> Row:
    """A cell once more, in a fresh folder."""
    again = bench.run("again", cell)
    if isinstance(again, str):
        return Row("again", "FAIL", f"{cell}: {again}")
    is_same = again.artifact == first.artifact
    return Row("again", "PASS" if is_same else "FAIL", f"{cell}: {'same' if is_same else 'other'} artifact")


def _device(text: str) -> Device:
    if text not in {device.value for device in Device}:
        raise ConfigError(f"--device is {text!r}; give cuda or cpu")
    return Device(text)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{option} has {text!r}, which is no number") from error


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
