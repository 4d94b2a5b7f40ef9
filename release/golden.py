"""Verb golden: the hashes of a run that any machine of its profile should get, in the form of tests/golden/.

usage: python -m release golden RUNS [--check FILE]

They are of results only: code that should not change a result does not change them.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from core.arguments import Parser
from core.artifact import current
from core.errors import DeterministicError


def main(arguments: list[str]) -> None:
    """Run the verb: write the hashes, or hold them against a file's."""
    parser = Parser("python -m release golden RUNS [--check FILE]")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--check", type=Path)
    given = parser.parse_args(arguments)
    found = golden_hashes(given.runs)
    sys.stdout.write("".join(f"{name} {value}\n" for name, value in found.items()))
    if given.check:
        check(found, read_golden(given.check.read_text(encoding="utf-8").splitlines()), where=given.check)


def golden_hashes(runs: Path) -> dict[str, str]:
    """Profile, and the hashes of tokenizer, token shards with their order, trajectory and weights, of a runs folder."""
    tokenizer, pack, train = (current(runs, stage) for stage in ("tokenizer", "pack", "train"))
    files = {entry["path"]: entry["sha256"] for entry in tokenizer.record["files"]}
    return {
        "profile": train.record["config"]["profile"]["asked"]["name"],
        "tokenizer": files["tokenizer.model"],
        "data_root": pack.facts["data_root"],
        "trajectory_head": train.facts["trajectory_head"],
        "weights": train.facts["weights_sha256"],
    }


def read_golden(lines: Iterable[str]) -> dict[str, str]:
    """Names and values of a golden file; its first line is the command that wrote it."""
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def check(found: dict[str, str], golden: dict[str, str], *, where: Path) -> None:
    """Raise DeterministicError naming the first hash, in the order of the pipeline, that is not the golden one."""
    for name, value in golden.items():
        if found[name] != value:
            raise DeterministicError(
                f"{name} is {found[name]}, {where} says {value}: this machine or this code gives another result; "
                "docs/reproducibility.md says how to find the operation that differs"
            )
