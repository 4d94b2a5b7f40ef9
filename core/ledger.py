"""The ledger of a training run: one hash-chained line a step, nothing in it that placement or the clock could change.

Line 1 is the genesis: what the run was made from. Every further line is one step; numbers that are not integers are
written as hex floats, so that nothing is lost. `prev` is the SHA-256 of the line before, and the two heads are

    full head         SHA-256 of the last line: binds code, configuration, data and profile; a bundle signs it
    trajectory head   the chain over the steps' numbers alone: equal for equal results, whatever made them
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.durable import sync_file, write_durably
from core.errors import DataError
from core.hashing import canonical_json, sha256_hex

FORMAT = "wholegrain-ledger-1"
START = "0" * 64
# What the first line says that a run takes of its parent, if it is not all.
WEIGHTS = "weights"
# The order in which fields are compared: the first one that differs is the nearest to the cause.
FIELDS = ("step", "tokens", "batch", "lr", "loss", "grads", "norm", "state")

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two ledgers differ."""

    step: int
    field: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"step {self.step}, field {self.field}: {self.left} against {self.right}"


def genesis(
    *,
    code: str,
    config: str,
    data: str,
    profile: str,
    parent: Line | None = None,
    objective: str = "",
    reference: str = "",
) -> Line:
    """The first line: hashes of the code tree, identity configuration, data root and numerics profile.

    A run that goes on from another's checkpoint names that parent's step, ledger head and state root; one that takes
    its weights alone says so. `objective` is what is learned if that is not text, `reference` the SHA-256 of what
    preferences are measured against (train/reference.py).
    """
    first = {"ledger": FORMAT, "code": code, "config": config, "data": data, "profile": profile, "prev": START}
    more = {"parent": parent, "objective": objective, "reference": reference}
    return {**first, **{name: value for name, value in more.items() if value}}


def takes_weights(first: Line) -> bool:
    """Whether a run with this first line takes the weights of another, and nothing else of it."""
    return bool(first.get("parent", {}).get("takes") == WEIGHTS)


def parent_step(first: Line) -> int:
    """The step behind which a ledger with this first line begins; 0 without a parent, or with its weights alone."""
    return 0 if takes_weights(first) else int(first.get("parent", {}).get("step", 0))


class Ledger:
    """An open ledger that grows by one line a step."""

    def __init__(self, path: Path, first: Line) -> None:
        """Create the file with its genesis, or open it and check that it began the same way and is unbroken.

        Raises DataError if the file there is of another run or broken before its last line.
        """
        self._path = path
        if not path.exists():
            write_durably(path, canonical_json(first) + b"\n")
        lines = read_lines(path, is_torn_allowed=True)
        if not lines or lines[0] != first:
            raise DataError(
                f"{path} is the ledger of another run (its first line differs); give this run its own folder"
            )
        self._lines = lines
        # Anew in any case: a process of an older generation that wakes up appends to a file that has no name any more.
        self._write()
        self._stream = path.open("ab")

    @property
    def steps(self) -> list[Line]:
        """The lines of the steps, without the genesis."""
        return self._lines[1:]

    @property
    def head(self) -> str:
        """The full head."""
        return _hash(self._lines[-1])

    def append(self, numbers: Line) -> None:
        """Add the next step's numbers."""
        line = {**numbers, "prev": self.head}
        self._lines.append(line)
        self._stream.write(canonical_json(line) + b"\n")
        self._stream.flush()

    def sync(self) -> None:
        """Force every line to the disk: a checkpoint may name the head only after this."""
        sync_file(self._path)

    def cut(self, step: int) -> list[Line]:
        """Drop every line after `step` and return the dropped ones, so that redone steps can be held against them."""
        kept = [line for line in self.steps if line["step"] <= step]
        dropped = self.steps[len(kept) :]
        self._lines = [self._lines[0], *kept]
        self._stream.close()
        self._write()
        self._stream = self._path.open("ab")
        return dropped

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _write(self) -> None:
        write_durably(self._path, b"".join(canonical_json(line) + b"\n" for line in self._lines))


def read_lines(path: Path, *, is_torn_allowed: bool = False) -> list[Line]:
    """Read a ledger and check its chain. A torn last line, left by a kill, is dropped where allowed.

    Raises DataError naming the first line that does not follow from the one before.
    """
    lines: list[Line] = []
    previous = START
    raw = path.read_bytes().split(b"\n")
    if raw[-1] and not is_torn_allowed:
        raise DataError(f"{path} ends in the middle of a line; the ledger was cut")
    for number, content in enumerate(raw[:-1], start=1):
        try:
            line = json.loads(content)
            is_sound = canonical_json(line) == content and line["prev"] == previous
        except (ValueError, KeyError, TypeError):
            is_sound = False
        if is_sound and number > 1:
            is_sound = line.get("step") == parent_step(lines[0]) + number - 1
        elif is_sound:
            is_sound = line.get("ledger") == FORMAT
        if not is_sound:
            raise DataError(
                f"{path} line {number} does not follow from the line before: the ledger was edited or damaged"
            )
        lines.append(line)
        previous = _hash(line)
    return lines


def full_head(lines: list[Line]) -> str:
    """SHA-256 of the last line, genesis included."""
    return _hash(lines[-1])


def trajectory_head(steps: list[Line]) -> str:
    """The chain over the steps' numbers alone; `steps` has no genesis."""
    head = sha256_hex(FORMAT.encode())
    for line in steps:
        head = sha256_hex(canonical_json([head, {name: value for name, value in line.items() if name != "prev"}]))
    return head


def first_difference(left: list[Line], right: list[Line]) -> Difference | None:
    """The first step and field in which two runs' steps differ, or None; a missing step is a difference too."""
    for one, other in zip(left, right, strict=False):
        for field in (*FIELDS, *sorted((one.keys() | other.keys()) - {*FIELDS, "prev"})):
            if one.get(field) != other.get(field):
                return _innermost(Difference(one["step"], field, one.get(field), other.get(field)))
    if len(left) != len(right):
        return Difference(min(len(left), len(right)) + 1, "step", len(left), len(right))
    return None


def _innermost(found: Difference) -> Difference:
    """Where a field has names in it, the first of them that differs, as field.name."""
    left, right = found.left, found.right
    if not (isinstance(left, dict) and isinstance(right, dict)):
        return found
    name = min(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return _innermost(Difference(found.step, f"{found.field}.{name}", left.get(name), right.get(name)))


def _hash(line: Line) -> str:
    return sha256_hex(canonical_json(line))
