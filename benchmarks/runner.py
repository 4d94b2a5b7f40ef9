"""Starts one cell of benchmarks/train.py as processes of its own, and reads what they measured."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cells import OURS, Cell, Size
from benchmarks.tokens import write_pack, write_recipe, write_windows
from core.allocator import PATTERN, find_tcmalloc, preloading
from core.artifact import Artifact, current
from core.codetree import ROOT
from core.config import CONF
from core.journal import read_journal
from launch.starters import torchrun

PACKAGE = "libtcmalloc-minimal4"
TIMEOUT_S = 900
# A run's first step warms up, and our last one saves.
FIRST = 1
# Where compiled code is kept for the next process, by torch and by us (train/compiled.py).
PEERS_CODE, OUR_CODE = "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"


class Runner:
    """Runs cells in a folder, where packs, windows and compiled code are kept for the next cell."""

    def __init__(
        self, folder: Path, *, peers_python: str, tcmalloc: Path | None, profile: Mapping[str, Any] | None = None
    ) -> None:
        """`profile` changes our profile."""
        self._folder, self._peers_python, self._profile = folder, peers_python, profile or {}
        self.library = tcmalloc or find_tcmalloc() or fetch_tcmalloc(folder)

    def run(self, cell: Cell, size: Size, *, dtype: str, steps: int) -> dict[str, Any]:
        """`seconds` of a step, the median after the first, and `memory` in bytes; or the reason why it is `missing`."""
        pack = self._pack(size, steps + 1)
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        environment = dict(os.environ)
        if cell.is_preloaded and self.library:
            environment |= preloading(self.library)
        run = self._run_ours if cell.tool == OURS else self._run_peer
        return run(cell, size, pack=pack, dtype=dtype, steps=steps, work=work, environment=environment)

    @cache  # noqa: B019 (a runner lives as long as the process)
    def _pack(self, size: Size, steps: int) -> Artifact:
        """The tokens of a size, for ours and, as an array beside them, for peers."""
        runs = self._folder / f"{size.name}-{steps}"
        runs.mkdir(exist_ok=True)
        pack = write_pack(runs, size, steps=steps)
        write_windows(runs / "windows.npy", pack, size, steps=steps - 1)
        return pack

    def _run_peer(
        self, cell: Cell, size: Size, *, pack: Artifact, dtype: str, steps: int, work: Path, environment: dict[str, str]
    ) -> dict[str, Any]:
        spec, result = work / "work.json", work / "result.json"
        windows = str(pack.folder.parent / "windows.npy")
        told = {
            "size": asdict(size),
            "dtype": dtype,
            "windows": windows,
            "result": str(result),
            "threads": cell.threads,
        }
        spec.write_text(json.dumps(asdict(cell) | told), encoding="utf-8")
        environment[PEERS_CODE] = str(self._folder / "compiled")
        failure = _failure([self._peers_python, "-m", "benchmarks.peers", str(spec)], environment)
        if failure:
            return {"missing": failure}
        found: dict[str, Any] = json.loads(result.read_bytes())
        return found if "missing" in found else {**found, "seconds": statistics.median(found["seconds"][FIRST:])}

    def _run_ours(
        self, cell: Cell, size: Size, *, pack: Artifact, dtype: str, steps: int, work: Path, environment: dict[str, str]
    ) -> dict[str, Any]:
        recipe, memory = work / "recipe.yaml", work / "memory"
        places = {"name": "benchmark", "out": str(work / "run"), "inputs": str(pack.folder.parent)}
        whole = sections(cell, size, dtype=dtype, steps=steps + 1)
        whole["profile"] |= self._profile
        write_recipe(recipe, {"run": places} | whole)
        environment[OUR_CODE] = str(self._folder / "cache")
        arguments = ["benchmarks.ours", str(recipe), str(memory)]
        alone = [sys.executable, "-m", *arguments]
        failure = _failure(torchrun(arguments, ranks=cell.ranks) if cell.ranks > 1 else alone, environment)
        if failure:
            return {"missing": failure}
        journal = current(work / "run", "train").folder / "witness" / "journal-rank0.jsonl"
        seconds = [event["seconds"] for event in read_journal(journal) if event["event"] == "step.finished"]
        held = [json.loads(path.read_bytes()) for path in work.glob("memory-rank*.json")]
        return {"seconds": statistics.median(seconds[FIRST:-1]), "memory": sum(held)}


def sections(cell: Cell, size: Size, *, dtype: str, steps: int) -> dict[str, Any]:
    """Sections model, train and profile of a recipe that does what the peers do; a rank takes one micro-batch."""
    profile = yaml.safe_load((CONF / "profile" / "native.yaml").read_text(encoding="utf-8"))
    profile |= {"name": f"benchmark-{dtype}", "threads": cell.threads, "compute": dtype}
    if dtype == "fp32":
        profile["cpu_features"] = []
    profile["is_compiled"] = cell.is_compiled
    model = {
        "dim": size.dim,
        "n_layers": size.n_layers,
        "n_heads": size.n_heads,
        "n_kv_heads": size.n_heads,
        "ffn_dim": size.ffn_dim,
        "vocab_size": size.vocab_size,
        "max_seq_len": size.seq_len,
        "rope_theta": 10000.0,
        "norm_eps": 1e-5,
        "is_embedding_tied": False,
        "init_std": 0.02,
    }
    batch = {"micro_batches": cell.ranks, "micro_batch": size.windows // cell.ranks}
    rates = {"lr": 3e-4, "min_lr": 3e-4, "schedule": "constant", "warmup_steps": 0}
    adamw = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip_norm": 1.0}
    train = {"seed": 1, "steps": steps, "save_every_steps": steps, "placement": "zero1", **batch, **rates, **adamw}
    return {"model": model, "train": train, "profile": profile}


def _failure(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command in the checkout; returns the line of its complaint that tells most if it failed."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if not done.returncode:
        return ""
    # torchrun ends its own complaint with a rule; what a rank says of itself comes before.
    lines = [line for line in done.stderr.splitlines() if line.strip(" =-")]
    told = [line for line in lines if re.match(r"error: |\w*Error: |terminate called|Fatal ", line)] or lines
    return told[-1][:200] if told else f"exit code {done.returncode}"


def fetch_tcmalloc(folder: Path) -> Path | None:
    """Debian's library, unpacked in a folder without being installed; None where that cannot be done."""
    unpacked = folder / PACKAGE
    if not unpacked.exists() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, check=False)
        for package in folder.glob(f"{PACKAGE}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    return next(iter(sorted(unpacked.glob(f"usr/lib/*/{PATTERN}"))), None)
