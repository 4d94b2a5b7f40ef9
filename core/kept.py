"""What a keeper tells a rank when it starts it: generation, meeting point, shelves; one JSON value in the environment.

Without it a rank was started by a person, torchrun, DeepSpeed or srun, and there is no keeper. Nothing of it decides a
result.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import cache

VARIABLE = "WHOLEGRAIN_KEPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A rank's place in a generation.

    meeting      host:port of the first rank's store; that rank has it listening already, on descriptor `listening`
    node         the name of the rank's node
    shelves      where this rank puts what must outlive it: its own keeper, and another node's
    all_shelves  where to look for what earlier generations have put
    base_every   steps from one base to the next; 0: nothing is put on shelves
    void_after   steps after this one were computed wrongly and are to be forgotten; -1: none
    voids        (generation, step): what generations before that one have put on shelves after that step is void
    is_awaited   the ranks wait for a word of the coordinator before they publish
    faults       faults to be injected (core/faults.py)
    fault_box    where a drill lays more of them meanwhile (core/faultbox.py); empty: nowhere
    """

    generation: int
    meeting: str
    token: str
    node: str
    listening: int = -1
    shelves: tuple[str, ...] = ()
    all_shelves: tuple[str, ...] = ()
    base_every: int = 0
    void_after: int = -1
    voids: tuple[tuple[int, int], ...] = ()
    is_awaited: bool = False
    faults: tuple[str, ...] = ()
    fault_box: str = ""

    @property
    def host(self) -> str:
        """The host of the meeting point."""
        return self.meeting.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port of the meeting point."""
        return int(self.meeting.rpartition(":")[2])


def tell(kept: Kept) -> dict[str, str]:
    """The environment of a rank."""
    return {VARIABLE: json.dumps(asdict(kept))}


@cache
def kept() -> Kept | None:
    """What this process was told, or None."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    values = json.loads(text)
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    voids = tuple((int(generation), int(step)) for generation, step in values["voids"])
    return Kept(**{**values, **lists, "voids": voids})
