"""The state of a run in the memory of keepers: handed over while it is made, and had again after a loss.

Before a step is applied, every rank hands the gradients that it will apply to its own keeper and to one of another
node; every `base_every` steps the state itself. A state is a pure function of the one before and these gradients, so
a step that was applied by half is applied again, whole, and nothing need be computed twice. Entries are verified by
their SHA-256 where they are taken in and where they are read. Only bytes are moved: the bits do not depend on which
ranks handed them in, nor on which ask for them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain as joined

import torch
from torch import Tensor

from core.errors import RetryError
from core.journal import Journal
from core.kept import Kept
from core.wire import Message, Wire, connect
from train.chain import BASE, LOG, Chain, Entry, Header, is_void
from train.placed import Placed, Segment, kept_names
from train.runtime import World
from train.spikes import Measured
from train.step import Job, Numbers, apply_update
from train.vital import enter

TIMEOUT_S = 20.0
# The kernel of a machine that can be reached takes a connection up at once, however much there is to do; one packet may
# be lost.
CONNECT_S = 3.0
# Of a step's numbers: what the clock and the moment decide.
UNTOLD = ("seconds", "compute_seconds", "is_stopping", "losses", "roots", "rewards")


@dataclass(frozen=True, slots=True)
class Part:
    """Elements start .. start + len(values) - 1 of a tensor of the state, or of a gradient."""

    name: str
    start: int
    values: Tensor


class Tiers:
    """One rank's end of it."""

    def __init__(self, told: Kept, world: World, journal: Journal | None = None) -> None:
        self._told, self._world, self._journal = told, world, journal or Journal(None)
        self._wires: dict[str, Wire] = {}
        self._unreached: set[str] = set()
        self._redo: dict[int, list[Entry]] = {}
        self._next_base = 0

    def inventory(self) -> dict[str, list[Header]]:
        """The headers on all shelves that answer; a node that was away may still hold what has become void."""
        found = {}
        for address in self._told.all_shelves:
            answer = self._ask(address, {"do": "list"})
            if answer:
                found[address] = [header for header in answer[0]["headers"] if not is_void(header, self._told.voids)]
        return found

    def restore(self, job: Job, chain: Chain, *, after: int) -> None:
        """Bring the state to where it was after step `after`; later steps of the chain are left for `redo`."""
        with torch.no_grad():
            parts = self._fetch(chain.bases, wanted={part.name for part in state_parts(job.placed)})
            fill(state_parts(job.placed), parts)
        job.placed.refresh()
        take_up(job, chain.bases)
        self._redo = {step: entries for step, entries in chain.logs.items() if step > chain.base}
        for step in range(chain.base + 1, after + 1):
            self.redo(job, step)

    def redo(self, job: Job, step: int) -> Numbers | None:
        """Apply a step from its log; None if there is none."""
        entries = self._redo.pop(step, None)
        if entries is None:
            return None
        enter("update", step)
        take_up(job, entries)
        numbers = Numbers(**entries[0].header["numbers"], seconds=0.0, compute_seconds=0.0)
        gradients = [torch.empty_like(segment.weights) for segment in job.placed.segments]
        fill(gradient_parts(job.placed.segments, gradients), self._fetch(entries, wanted=None))
        apply_update(job, gradients, step=step, numbers=numbers)
        return numbers

    def log(
        self, job: Job, gradients: Sequence[Tensor], *, step: int, numbers: Numbers, roots: Sequence[bytes]
    ) -> None:
        """Hand over what a step is about to apply; returns when it is held."""
        enter("log", step)
        told = {name: value for name, value in asdict(numbers).items() if name not in UNTOLD}
        own = [one.index for one in job.placed.micro_steps if not one.is_dummy]
        about = {"numbers": told, "roots": [root.hex() for root in roots], "computed": own, "node": self._told.node}
        self._put(LOG, step, gradient_parts(job.placed.segments, gradients), about | measured(job))

    def end_step(self, job: Job, step: int) -> None:
        """Hand over the state if it is due; the first time as soon as nothing is left to be done again.

        The spike policy goes back to saved steps, so with it the state behind these is handed over, and no other.
        """
        is_due = not self._redo and step >= self._next_base
        if job.config.spikes.is_on:
            is_due = job.config.is_saved(step) or not self._next_base
        if is_due:
            self._put(BASE, step, state_parts(job.placed), measured(job))
            self._next_base = step + self._told.base_every

    def forget(self) -> None:
        """Do nothing again any more: the run has gone back behind it."""
        self._redo = {}

    def _put(self, kind: str, step: int, parts: Sequence[Part], about: Message) -> None:
        content = torch.cat([part.values.reshape(-1) for part in parts]) if parts else torch.empty(0)
        data = content.numpy().data.cast("B")
        header = {
            "kind": kind,
            "step": step,
            "generation": self._told.generation,
            "rank": self._world.rank,
            "world": self._world.size,
            "sha256": hashlib.sha256(data).hexdigest(),
            "parts": [[part.name, part.start, part.values.numel()] for part in parts],
            **about,
        }
        open_wires = [(address, self._wire(address)) for address in self._told.shelves]
        sent = []
        for address, wire in open_wires:
            with suppress(OSError):
                if wire:
                    wire.send({"do": "put", "header": header}, data)
                    sent.append((address, wire))
        for address, wire in sent:
            try:
                answer = wire.receive()
            except OSError:
                answer = None
            if answer is None:
                # That node is gone; its loss is the coordinator's to act on.
                self._wires.pop(address, None)
            elif "error" in answer[0]:
                raise RetryError(f"rank {self._world.rank} of generation {self._told.generation}: {answer[0]['error']}")

    def _fetch(self, entries: Sequence[Entry], *, wanted: set[str] | None) -> list[Part]:
        found = [
            self._parts(entry)
            for entry in entries
            if wanted is None or any(name in wanted for name, _, _ in entry.header["parts"])
        ]
        return list(joined.from_iterable(found))

    def _parts(self, entry: Entry) -> list[Part]:
        """An entry's parts, from the first shelf that has its bytes. Raises RetryError if none has."""
        header = entry.header
        key = [header["generation"], header["rank"], header["kind"], header["step"], header.get("returns", 0)]
        for address in entry.shelves:
            answer = self._ask(address, {"do": "get", "key": key})
            if answer and hashlib.sha256(answer[1]).hexdigest() != header["sha256"]:
                self._journal.record("shelf.refused", kind=key[2], rank_of=key[1], step=key[3], shelf=address)
            elif answer:
                counts = [count for _, _, count in header["parts"]]
                values = torch.frombuffer(answer[1], dtype=torch.float32) if answer[1] else torch.empty(0)
                split = values.split_with_sizes(counts) if counts else ()
                return [Part(name, start, own) for (name, start, _), own in zip(header["parts"], split, strict=True)]
        raise RetryError(f"no shelf has the {key[2]} of rank {key[1]} after step {key[3]} any more; start again")

    def _ask(self, address: str, message: Message) -> tuple[Message, bytearray] | None:
        wire = self._wire(address)
        try:
            return wire.ask(message) if wire else None
        except OSError:
            self._wires.pop(address, None)
            return None

    def _wire(self, address: str) -> Wire | None:
        if address not in self._wires and address not in self._unreached:
            try:
                self._wires[address] = connect(
                    address, token=self._told.token, connect_s=CONNECT_S, timeout_s=TIMEOUT_S
                )
            except OSError:
                # Gone, or behind a cut: a keeper that is started anew has another address.
                self._unreached.add(address)
        return self._wires.get(address)


def measured(job: Job) -> Message:
    """What the spike policy knows, for a header; nothing if it is off."""
    if not job.config.spikes.is_on:
        return {}
    return {"measured": job.watch.measured.plain(), "returns": job.watch.measured.returns}


def take_up(job: Job, entries: Sequence[Entry]) -> None:
    """Let the spike policy know what it knew when these were handed over."""
    if "measured" in entries[0].header:
        job.watch.measured = Measured.of(entries[0].header["measured"])


def state_parts(placed: Placed) -> list[Part]:
    """This rank's weights and moments, as they lie in memory."""
    return [
        Part(name, segment.span.start, values)
        for segment in placed.segments
        for name, values in zip(
            kept_names(segment.span.name, placed.groups), (segment.weights, *segment.moments.values()), strict=True
        )
    ]


def gradient_parts(segments: Sequence[Segment], gradients: Sequence[Tensor]) -> list[Part]:
    """The gradients of a rank's segments."""
    return [
        Part(segment.span.name, segment.span.start, gradient)
        for segment, gradient in zip(segments, gradients, strict=True)
    ]


def fill(targets: Sequence[Part], sources: Sequence[Part]) -> None:
    """Copy what the sources hold of the targets' elements. Raises RetryError if they do not cover them."""
    by_name: dict[str, list[Part]] = {}
    for source in sources:
        by_name.setdefault(source.name, []).append(source)
    for target in targets:
        _fill_one(target, by_name)


def _fill_one(target: Part, by_name: Mapping[str, Sequence[Part]]) -> None:
    first, last = target.start, target.start + target.values.numel()
    reached = first
    for source in sorted(by_name.get(target.name, ()), key=lambda part: part.start):
        end = min(last, source.start + source.values.numel())
        if source.start <= reached < end:
            target.values[reached - first : end - first].copy_(
                source.values[reached - source.start : end - source.start]
            )
            reached = end
    if reached < last:
        raise RetryError(f"what the shelves hold of {target.name} ends at element {reached} of {last}; start again")
