"""Verb compare-seeds: whether runs of other seeds, made elsewhere, come out as the maker's do.

usage: python -m release compare-seeds BUNDLE --theirs RUN... --ours RUN...

RUN is a bundle, a runs folder or a training artifact; the bundle's own run counts as one of theirs. All must have the
bundle's configuration and data and differ in train.seed alone, which their ledgers' first lines vouch for. Compared is
the mean loss of each run's last steps, by two one-sided t tests (TOST, Schuirmann 1987) of unequal variances (Welch
1947): EQUIVALENT says that a difference as large as the margin is refused at level ALPHA on both sides. Margin and
steps are those of the bundle (release.equivalence), under its root, so nobody fits them to what came out.

With fewer than MIN_SEEDS runs a side it is TOO FEW. The claim is statistical: weaker than PASS, and about the recipe,
not about the weights.
"""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.artifact import current
from core.errors import ConfigError, DataError
from core.hashing import hash_value
from core.ledger import Line, read_lines
from release.contents import Bundle, open_bundle
from release.stage import first_value
from release.students_t import student_cdf
from release.verdict import Finding, Verdict, conclude_weakly
from release.verify import INTEGRITY, judge

MIN_SEEDS = 5
ALPHA = 0.05
CANNOT_CATCH = (
    "whether the margin was chosen before the runs, unless the root is dated elsewhere; runs that were hidden"
)
# Ledger and configuration, by the kind of folder that a run may be.
PLACES = (("logs/ledger.jsonl", "config/train.json"), ("ledger.jsonl", "config.json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A run: its seed, what it was made of, and the mean loss of its last steps."""

    path: Path
    seed: int
    made_of: dict[str, Any]
    profile: str
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tost:
    """Two one-sided tests: the difference of means, and the probability of each side under a difference of a margin."""

    difference: float
    p_below: float
    p_above: float

    @property
    def is_equivalent(self) -> bool:
        """Whether both sides are refused."""
        return max(self.p_below, self.p_above) < ALPHA


def main(arguments: list[str]) -> None:
    """Run the verb: two lines; ends with an exit code that no bitwise verdict has (verdict.py)."""
    parser = Parser("python -m release compare-seeds BUNDLE --theirs RUN... --ours RUN...")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--theirs", type=Path, nargs="*", default=[])
    parser.add_argument("--ours", type=Path, nargs="*", default=[])
    given = parser.parse_args(arguments)
    bundle = open_bundle(given.bundle)
    findings = [judge(INTEGRITY, bundle)]
    if findings[0].verdict is Verdict.PASS:
        findings.append(compare(bundle, theirs=given.theirs, ours=given.ours))
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    conclude_weakly(findings, subject=str(given.bundle))


def compare(bundle: Bundle, *, theirs: Sequence[Path], ours: Sequence[Path]) -> Finding:
    """Hold our runs against the bundle's and the maker's others.

    Raises ConfigError if a run is of another recipe or a seed is there twice, DataError if one is damaged.
    """
    said = bundle.record.get("equivalence", {})
    margin, last_steps = float(said.get("margin", 0.0)), int(said.get("last_steps", 1))
    if not margin:
        return _finding(
            Verdict.UNSUPPORTED, "the bundle states no margin (release.equivalence), so none can be held to"
        )
    first = read_sample(bundle.folder, last_steps=last_steps)
    sides = {
        "theirs": [first, *(read_sample(path, last_steps=last_steps) for path in theirs)],
        "ours": [read_sample(path, last_steps=last_steps) for path in ours],
    }
    for side, samples in sides.items():
        _check_side(side, samples, first)
    counts = {side: len(samples) for side, samples in sides.items()}
    if min(counts.values()) < MIN_SEEDS:
        told = f"{counts['theirs']} of theirs and {counts['ours']} of ours; each side needs {MIN_SEEDS} seeds"
        return _finding(Verdict.TOO_FEW, told)
    losses = {side: [sample.loss for sample in samples] for side, samples in sides.items()}
    tested = tost(losses["ours"], losses["theirs"], margin=margin)
    spread = max(statistics.stdev(values) for values in losses.values())
    return _finding(
        Verdict.EQUIVALENT if tested.is_equivalent else Verdict.DIFFERENT,
        f"mean loss of the last {last_steps} steps, {counts['ours']} seeds of ours, {counts['theirs']} of theirs: "
        f"{tested.difference:+.4g}, margin {margin:g} of the bundle, p {tested.p_below:.2g} and {tested.p_above:.2g} "
        f"(both below {ALPHA:g} would be equivalent), standard deviation at most {spread:.2g}; a statistical verdict, "
        "weaker than PASS",
    )


def tost(ours: Sequence[float], theirs: Sequence[float], *, margin: float) -> Tost:
    """Test whether two means differ by less than a margin, either way; variances may differ."""
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    shares = [statistics.variance(values) / len(values) for values in (ours, theirs)]
    error = math.sqrt(sum(shares))
    if not error:
        return Tost(difference=difference, p_below=float(difference <= -margin), p_above=float(difference >= margin))
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (ours, theirs), strict=True)
    )
    return Tost(
        difference=difference,
        p_below=1 - student_cdf((difference + margin) / error, freedom=freedom),
        p_above=student_cdf((difference - margin) / error, freedom=freedom),
    )


def read_sample(path: Path, *, last_steps: int) -> Sample:
    """A run, from any of the folders that it may be.

    Raises ConfigError if it is none of them or has too few steps, DataError if its ledger does not vouch for it.
    """
    folder = current(path, "train").folder if (path / "train.json").is_file() else path
    places = next(((folder / a, folder / b) for a, b in PLACES if (folder / a).is_file()), None)
    if places is None:
        raise ConfigError(f"{path} is no bundle, runs folder or training artifact; name one of them")
    lines, config = read_lines(places[0]), _read_config(places[1])
    if lines[0]["config"] != hash_value({name: config[name] for name in ("model", "train")}):
        raise DataError(f"{places[1]} is not what the run's ledger begins with; get the run again")
    if len(lines) - 1 < last_steps:
        raise ConfigError(f"{path} has {len(lines) - 1} steps, and the last {last_steps} are compared; let it finish")
    train = dict(config["train"])
    return Sample(
        path=path,
        seed=train.pop("seed"),
        made_of={"model": config["model"], "train": train, "data": lines[0]["data"], "steps": len(lines) - 1},
        profile=str(lines[0]["profile"]),
        loss=_mean_loss(lines[-last_steps:]),
    )


def _check_side(side: str, samples: Sequence[Sample], first: Sample) -> None:
    for sample in samples:
        difference = first_value(first.made_of, sample.made_of)
        if difference:
            raise ConfigError(f"{sample.path} is of another recipe than the bundle: {difference}; name another run")
        if sample.profile != samples[0].profile:
            raise ConfigError(f"--{side} mixes numerics profiles ({sample.path}); give runs of one profile a side")
    seeds = [sample.seed for sample in samples]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise ConfigError(f"--{side} has seed {twice} twice, which is one run and not two; name runs of other seeds")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        config["train"]["seed"], config["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the run again") from error
    return config


def _mean_loss(lines: Sequence[Line]) -> float:
    return statistics.fmean(float.fromhex(line["loss"]) for line in lines)


def _finding(verdict: Verdict, detail: str) -> Finding:
    return Finding(check="seeds", verdict=verdict, detail=detail, cannot_catch=CANNOT_CATCH)
