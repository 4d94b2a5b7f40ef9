"""Verb tolerance: a weaker verdict on a segment where this machine answers the bundle's profile in another way.

usage: python -m release tolerance BUNDLE [--root HEX] [--nonce TEXT] [--segments N]

A segment, drawn as for the audit, is replayed here under several profiles: the bundle's as this machine answers it, and
others that differ in threads, attention kernel and CPU paths. How far these honest replays of one segment lie apart is
the band; the recorded numbers are WITHIN if they lie no farther than HEADROOM bands from ours, else OUTSIDE. The band
is measured anew for every segment: no distance is right for all models, steps and machines. What no profile may change
(batch digests, learning rates, token counts) has to be equal, else it is FAIL.

Distance: the largest relative difference of a step's loss or gradient norm. Weights are not compared, and the recorded
numbers take no part in measuring the band. PoL's lesson (Fang et al. 2022, arXiv:2208.03567) stands: a tolerance can be
cheated within, so this is never a PASS.
"""

import itertools
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.arguments import Parser
from core.errors import ConfigError, DataError
from core.ledger import Line
from release.audit import CANONICAL, Segment, all_segments, draw, start_of
from release.contents import Bundle, Record, open_bundle
from release.stage import ask, ask_fingerprint, first_value
from release.verdict import Finding, InconclusiveError, UnsupportedError, Verdict, conclude_weakly
from release.verify import CODE, INTEGRITY, MALFORMED, judge

# How many bands a machine that we do not have may lie from ours. On the tests' model AVX2 and AVX-512 lie 1e-6 apart, a
# learning rate that is wrong by 0.1 % some thousand times as far.
HEADROOM = 16.0
EXACT = ("step", "tokens", "batch", "lr")
MEASURED = ("loss", "norm")
PLAIN = {
    "environment": {},
    "cpu_features": [],
    "attention": "explicit",
    "is_compiled": False,
    "is_update_fused": False,
    "is_bound_to_cpu_model": False,
}
CANNOT_CATCH = "cheating that moves no loss or norm by more than the band; what happens at a segment's last update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """How far honest replays of a segment lie apart here, among which profiles, and the one nearest to the bundle's."""

    width: float
    profiles: tuple[str, ...]
    ours: Sequence[Line]


def main(arguments: list[str]) -> None:
    """Run the verb: one line a finding; ends with an exit code that no bitwise verdict has (verdict.py)."""
    parser = Parser("python -m release tolerance BUNDLE [--root HEX] [--nonce TEXT] [--segments N]")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", default="")
    parser.add_argument("--nonce", default="")
    parser.add_argument("--segments", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.segments < 1:
        raise ConfigError(f"--segments is {given.segments}; give at least 1")
    bundle = open_bundle(given.bundle)
    bundle.expected_root, bundle.nonce, bundle.segments = given.root, given.nonce, given.segments
    findings = []
    for finding in tolerate(bundle):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        findings.append(finding)
    conclude_weakly(findings, subject=str(given.bundle))


def tolerate(bundle: Bundle) -> Iterator[Finding]:
    """The findings: the bundle is whole, its code is known, and each drawn segment.

    Raises ConfigError if this machine can judge bit by bit.
    """
    with tempfile.TemporaryDirectory(prefix="wholegrain-tolerance-") as scratch:
        bundle.scratch = Path(scratch)
        for check in (INTEGRITY, CODE):
            finding = judge(check, bundle)
            yield finding
            if finding.verdict is not Verdict.PASS:
                return
        yield from _segments(bundle)


def _segments(bundle: Bundle) -> Iterator[Finding]:
    try:
        _check_worth(bundle)
        able = [s for s in all_segments(bundle.ledger[1:], first=bundle.first_step) if start_of(bundle, s)]
        if not able:
            raise UnsupportedError("no segment begins at a state that is in the bundle or was given")
    except InconclusiveError as error:
        yield _finding(Verdict.INCONCLUSIVE, str(error))
        return
    for segment in draw(able, root=bundle.root, nonce=bundle.nonce, count=bundle.segments):
        recorded = [bundle.line(step) for step in range(segment.start + 1, segment.end + 1)]
        try:
            yield hold(recorded, calibrate(bundle, segment))
        except DataError as error:
            yield _finding(Verdict.FAIL, str(error))
        except InconclusiveError as error:
            yield _finding(Verdict.INCONCLUSIVE, str(error))
        except MALFORMED as error:
            yield _finding(Verdict.FAIL, f"the bundle is malformed: {type(error).__name__} {error}")


def _check_worth(bundle: Bundle) -> None:
    if bundle.trained["train"]["sum"] != CANONICAL:
        raise UnsupportedError(
            f"trained with train.sum={bundle.trained['train']['sum']}, whose numbers no replay gives"
        )
    try:
        answer = ask_fingerprint(bundle.runnable_code(), bundle.runnable_recipe())
    except InconclusiveError:
        # The profile cannot even be asked for here, which is what this verdict is for.
        return
    if not first_value(bundle.trained["profile"], answer):
        raise ConfigError(
            "this machine answers the numerics profile as the bundle's did, so it can judge bit by bit; run "
            "python -m release verify BUNDLE --level V4"
        )


def calibrate(bundle: Bundle, segment: Segment) -> Band:
    """Replay a segment under every profile that this machine has, and measure how far the replays lie apart.

    Raises InconclusiveError if fewer than two profiles run here, or none differs from another.
    """
    replays: dict[str, list[Line]] = {}
    for name, profile in variants(bundle.recipe["profile"]).items():
        try:
            replays[name] = replay(bundle, segment, sections={"profile": profile})
        except InconclusiveError as error:
            sys.stderr.write(f"profile {name} does not run here: {error}\n")
    width = max((distance(one, other) for one, other in itertools.combinations(replays.values(), 2)), default=0.0)
    if not width:
        raise InconclusiveError(
            f"profiles {', '.join(replays) or 'none'} ran here and gave the same numbers, so nothing tells how far "
            "honest machines lie apart"
        )
    return Band(width=width, profiles=tuple(replays), ours=next(iter(replays.values())))


def hold(recorded: Sequence[Line], band: Band) -> Finding:
    """Hold recorded steps against ours. Raises DataError if what no profile changes differs."""
    for line, ours in zip(recorded, band.ours, strict=True):
        for field in EXACT:
            if line[field] != ours[field]:
                raise DataError(
                    f"step {line['step']}, field {field}: {line[field]} against {ours[field]}, under any profile"
                )
    far = distance(recorded, band.ours)
    is_within = far <= HEADROOM * band.width
    steps = f"steps {recorded[0]['step']} to {recorded[-1]['step']}"
    return _finding(
        Verdict.WITHIN if is_within else Verdict.OUTSIDE,
        f"{steps}: losses and norms lie {far:.2e} from ours, {far / band.width:.3g} times as far as profiles "
        f"{', '.join(band.profiles)} lie apart here ({band.width:.2e}; up to {HEADROOM:g} times is within); "
        "batches, rates and tokens are equal; a tolerance verdict, weaker than PASS",
    )


def distance(one: Sequence[Line], other: Sequence[Line]) -> float:
    """The largest relative difference of a step's loss or norm between two records of the same steps.

    Infinite where one of two different numbers is not finite.
    """
    pairs = [
        (float.fromhex(ours[field]), float.fromhex(theirs[field]))
        for ours, theirs in zip(one, other, strict=True)
        for field in MEASURED
    ]
    return max((_apart(a, b) for a, b in pairs if a != b), default=0.0)


def _apart(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else math.inf


def variants(asked: Mapping[str, Any]) -> dict[str, Record]:
    """The profiles to try: the bundle's own, and others whose arithmetic is as honest and takes another order."""
    attention = "explicit" if asked.get("attention") == "blocked" else "blocked"
    # Of a GPU's profile (not exercised here) all but the first run on the CPU.
    plain = {name: value for name, value in {**asked, **PLAIN}.items() if name not in ("device", "cuda")}
    return {
        "asked": dict(asked),
        "plain": plain,
        "threads": {**plain, "threads": 2 if asked.get("threads", 1) == 1 else 1},
        "attention": {**plain, "attention": attention},
    }


def replay(bundle: Bundle, segment: Segment, *, sections: Mapping[str, Any]) -> list[Line]:
    """Replay a segment with some sections of the recipe replaced; returns its lines."""
    with tempfile.TemporaryDirectory(dir=bundle.scratch) as folder:
        out, recipe = Path(folder) / "replayed.jsonl", Path(folder) / "recipe.yaml"
        whole = {**yaml.safe_load(bundle.runnable_recipe().read_bytes()), **sections}
        recipe.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
        where = ["--pack", bundle.pack, "--start", start_of(bundle, segment), "--until", segment.end, "--out", out]
        ask(bundle.runnable_code(), "train", "replay", recipe, *where, writable=Path(folder))
        return [json.loads(line) for line in out.read_bytes().splitlines()]


def _finding(verdict: Verdict, detail: str) -> Finding:
    return Finding(check="tolerance", verdict=verdict, detail=detail, cannot_catch=CANNOT_CATCH)
