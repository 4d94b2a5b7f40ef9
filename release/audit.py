"""The segment audit: stretches of the training are done again on one process, or some, and compared line by line.

A segment begins at the initial state or at a shipped checkpoint and ends at the next state root in the ledger. The
first, the last and those where a phase begins are always replayed; which others is drawn from the bundle's root and an
optional nonce, so whoever made the bundle could not know it before every byte was fixed (with a nonce: not even by
trying out roots). Bits are comparable under one numerics profile only, so on a machine that answers the profile in
another way the audit is inconclusive.
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
from release.pinpoint import pinpoint
from release.stage import ask
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
    difference = bundle.profile_difference
    if difference:
        raise InconclusiveError(
            f"this machine answers the numerics profile in another way: {difference}; release tolerance and release "
            "compare-seeds give weaker verdicts"
        )
    every = all_segments(bundle.ledger[1:], first=bundle.first_step)
    able = [segment for segment in every if start_of(bundle, segment)]
    if not able:
        raise UnsupportedError("no segment begins at a state that is in the bundle or was given")
    always = expected(every, boundaries(bundle))
    drawn = draw(
        [segment for segment in able if segment not in always],
        root=bundle.root,
        nonce=bundle.nonce,
        count=bundle.segments,
    )
    replayed = sorted({*drawn, *(segment for segment in always if segment in able)}, key=lambda one: one.start)
    for stretch in joined(replayed):
        _replay(bundle, stretch)
    steps = ", ".join(f"{segment.start + 1} to {segment.end}" for segment in replayed)
    missing = [f"{segment.start + 1} to {segment.end}" for segment in always if segment not in able]
    left = f"; not replayed: steps {', '.join(missing)}, which should be" if missing else ""
    told = odds(len(every), able=len(able), always=len(always), drawn=len(drawn))
    return f"steps {steps} replayed on {_ranks(bundle)}, every line equal{left}; {told}"


def boundaries(bundle: Bundle) -> list[int]:
    """The steps with which something begins: the run, what follows the warm-up, the decay, phases of the mixture; and
    the last step. All are audited always, since they are the only ones of their kind."""
    train, order = bundle.trained["train"], bundle.read_json("data/pack/order.json")
    samples = train["micro_batches"] * train["micro_batch"]
    first, last = bundle.first_step + 1, bundle.first_step + len(bundle.ledger) - 1
    steps = {first, last, train["warmup_steps"] + 1}
    if train.get("decay_steps"):
        steps.add(train["steps"] - train["decay_steps"] + 1)
    steps |= {phase["start"] // samples + 1 for phase in order["phases"]}
    return sorted(step for step in steps if first <= step <= last)


def expected(segments: Sequence[Segment], steps: Sequence[int]) -> list[Segment]:
    """The segments that hold any of some steps."""
    return [segment for segment in segments if any(segment.start < step <= segment.end for step in steps)]


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """Segments in order, with those that follow each other made one: fewer processes, the same lines."""
    stretches: list[Segment] = []
    for segment in segments:
        if stretches and stretches[-1].end == segment.start:
            stretches[-1] = Segment(stretches[-1].start, segment.end)
        else:
            stretches.append(segment)
    return stretches


def all_segments(steps: Sequence[Line], *, first: int = 0) -> list[Segment]:
    """The run, which begins behind step `first`, cut at every state root."""
    ends = [int(line["step"]) for line in steps if line.get("state")]
    return [Segment(start, end) for start, end in zip([first, *ends], ends, strict=False)]


def draw(segments: Sequence[Segment], *, root: str, nonce: str, count: int) -> list[Segment]:
    """Draw `count` different segments, or all if there are fewer: a pure function of the root and the nonce."""
    ranked = sorted(segments, key=lambda segment: derive_seed(int(root, 16), "audit", nonce, segment.start))
    return sorted(ranked[:count], key=lambda segment: segment.start)


def chance_caught(segments: int, *, cheated: int, drawn: int) -> float:
    """Probability that at least one of `drawn` segments is among `cheated` of all (hypergeometric)."""
    return 1 - math.comb(segments - cheated, drawn) / math.comb(segments, drawn) if cheated <= segments else 1.0


def odds(segments: int, *, able: int, always: int, drawn: int) -> str:
    """How likely cheating in a share of the segments, anywhere but in those that are always replayed, would have been
    caught; a liar knows those, and those that cannot be replayed because their first state is not here."""
    others, said = segments - always, []
    for share in CHEATED_SHARES:
        cheated = max(1, math.ceil(share * segments))
        chance = chance_caught(others, cheated=cheated, drawn=drawn)
        said.append(f"{100 * share:g} % ({cheated} of {segments}) with {100 * chance:.0f} %")
    blind = (
        f"; {segments - able} can never be drawn, since they begin at no state that is here" if able < segments else ""
    )
    return (
        f"drawn {drawn} of {others} segments besides the {always} that always are; would have caught cheating outside "
        f"those in {', '.join(said)} probability{blind}"
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
    return "init" if not bundle.has_start or bundle.start.is_dir() else ""


def _ranks(bundle: Bundle) -> str:
    return f"{bundle.ranks} processes" if bundle.ranks > 1 else "1 process"


def _replay(bundle: Bundle, segment: Segment) -> None:
    recorded = [bundle.line(step) for step in range(segment.start + 1, segment.end + 1)]
    with tempfile.TemporaryDirectory(prefix="wholegrain-audit-") as folder:
        replayed = replay_segment(bundle, segment, Path(folder))
        difference = first_difference(recorded, replayed)
        if not difference:
            return
        # Once more, and with all that the lines are made of.
        again = Path(folder) / "again"
        again.mkdir()
        # Up to the next state in the ledger: there tensors can be compared.
        end = next(step for step in range(difference.step, segment.end + 1) if bundle.line(step).get("state"))
        repeated = replay_segment(bundle, Segment(segment.start, end), again, "--detail", again)
        if repeated != replayed[: end - segment.start]:
            raise InconclusiveError(
                f"two replays of steps {segment.start + 1} to {end} differ on this machine, which does not "
                "compute the same twice; test it with python -m train doctor"
            )
        where = pinpoint(bundle, difference, again, end=end)
    raise DataError(
        f"the replay of steps {segment.start + 1} to {segment.end} differs first in {difference}; {'; '.join(where)}"
    )


def replay_segment(bundle: Bundle, segment: Segment, folder: Path, *options: object) -> list[Line]:
    """Replay a segment with the bundle's code on as many processes as were asked for; returns its lines."""
    out = folder / "replayed.jsonl"
    where = ["--pack", bundle.pack, "--start", start_of(bundle, segment), "--until", segment.end, "--out", out]
    ask(
        bundle.runnable_code(),
        "train",
        "replay",
        bundle.runnable_recipe(),
        *where,
        *options,
        ranks=bundle.ranks,
        writable=folder,
    )
    return [json.loads(line) for line in out.read_bytes().splitlines()]
