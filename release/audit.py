"""The segment audit: a stretch of the training, drawn by lot, is done again on one process and compared line by line.

A segment begins at the initial state or at a shipped checkpoint and ends at the next state root in the ledger. Which
ones are replayed is drawn from the bundle's root and an optional nonce, so whoever made the bundle could not know it
before every byte was fixed (with a nonce: not even by trying out roots). Bits are comparable under one numerics profile
only, so on a machine that answers the profile in another way the audit is inconclusive.
"""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError
from core.journal import read_journal
from core.ledger import Line, first_difference
from core.seeds import derive_seed
from release.contents import Bundle
from release.stage import ask, ask_fingerprint, first_value
from release.verdict import InconclusiveError, UnsupportedError

# The value of train.sum under which numbers do not depend on the ranks.
CANONICAL = "canonical"
CHEATED_SHARES = (0.01, 0.05, 0.10)


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps start+1 .. end, between two states that the ledger names."""

    start: int
    end: int


def audit(bundle: Bundle) -> str:
    """Replay the drawn segments; returns what was replayed and how likely it is that cheating would have shown."""
    if bundle.trained["train"]["sum"] != CANONICAL:
        raise UnsupportedError(
            f"trained with train.sum={bundle.trained['train']['sum']}, whose numbers depend on the ranks; "
            f"only {CANONICAL} can be replayed"
        )
    answer = ask_fingerprint(bundle.runnable_code(), bundle.runnable_recipe())
    difference = first_value(bundle.trained["profile"], answer)
    if difference:
        raise InconclusiveError(
            f"this machine answers the numerics profile in another way: {difference}; release tolerance and release "
            "compare-seeds give weaker verdicts"
        )
    every = all_segments(bundle.ledger[1:], first=bundle.first_step)
    able = [segment for segment in every if start_of(bundle, segment)]
    if not able:
        raise UnsupportedError("no segment begins at a state that is in the bundle or was given")
    drawn = draw(able, root=bundle.root, nonce=bundle.nonce, count=bundle.segments)
    replayed = with_ends(drawn, able) if bundle.is_with_ends else drawn
    for segment in replayed:
        _replay(bundle, segment)
    steps = ", ".join(f"{segment.start + 1} to {segment.end}" for segment in replayed)
    return (
        f"steps {steps} replayed on 1 process, every line equal; {odds(len(every), able=len(able), drawn=len(drawn))}"
    )


def all_segments(steps: Sequence[Line], *, first: int = 0) -> list[Segment]:
    """The run, which begins behind step `first`, cut at every state root."""
    ends = [int(line["step"]) for line in steps if line.get("state")]
    return [Segment(start, end) for start, end in zip([first, *ends], ends, strict=False)]


def draw(segments: Sequence[Segment], *, root: str, nonce: str, count: int) -> list[Segment]:
    """Draw `count` different segments, or all if there are fewer: a pure function of the root and the nonce."""
    ranked = sorted(segments, key=lambda segment: derive_seed(int(root, 16), "audit", nonce, segment.start))
    return sorted(ranked[:count], key=lambda segment: segment.start)


def with_ends(drawn: Sequence[Segment], able: Sequence[Segment]) -> list[Segment]:
    """The drawn segments, and the first and the last of all that can be replayed."""
    return sorted({*drawn, *able[:1], *able[-1:]}, key=lambda segment: segment.start)


def chance_caught(segments: int, *, cheated: int, drawn: int) -> float:
    """Probability that at least one of `drawn` segments is among `cheated` of all (hypergeometric)."""
    return 1 - math.comb(segments - cheated, drawn) / math.comb(segments, drawn)


def odds(segments: int, *, able: int, drawn: int) -> str:
    """How likely cheating in a share of the segments, wherever it lies, would have been caught."""
    said = []
    for share in CHEATED_SHARES:
        cheated = max(1, math.ceil(share * segments))
        chance = chance_caught(segments, cheated=cheated, drawn=drawn)
        said.append(f"{100 * share:g} % ({cheated} of {segments}) with {100 * chance:.0f} %")
    return (
        f"drawn {drawn} of {segments} segments, {able} of which can be; would have caught cheating in "
        f"{', '.join(said)} probability"
    )


def ranks_that_trained(bundle: Bundle) -> str:
    """What the witness says of the ranks that trained; placement, so no part of a verdict."""
    journals = sorted((bundle.witness / "train").glob("journal-rank*.jsonl"))
    ranks = {event["rank"] for path in journals for event in read_journal(path)}
    return f"{len(ranks)} ranks trained, by the witness's journals" if ranks else "the witness has no journal of ranks"


def start_of(bundle: Bundle, segment: Segment) -> Path | str:
    """What a replay of the segment begins with; an empty string if that is not there."""
    if segment.start > bundle.first_step:
        return bundle.checkpoints.get(segment.start, "")
    return "init" if not segment.start or bundle.start.is_dir() else ""


def _replay(bundle: Bundle, segment: Segment) -> None:
    start = start_of(bundle, segment)
    with tempfile.TemporaryDirectory(prefix="wholegrain-audit-") as folder:
        out = Path(folder) / "replayed.jsonl"
        where = ["--pack", bundle.pack, "--start", start, "--until", segment.end, "--out", out]
        ask(bundle.runnable_code(), "train", "replay", bundle.runnable_recipe(), *where)
        replayed = [json.loads(line) for line in out.read_bytes().splitlines()]
    recorded = [bundle.line(step) for step in range(segment.start + 1, segment.end + 1)]
    difference = first_difference(recorded, replayed)
    if difference:
        raise DataError(f"the replay of steps {segment.start + 1} to {segment.end} differs first in {difference}")
