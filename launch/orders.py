"""What the keepers are told when a generation begins: which ranks to start, and what each of them must know."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.kept import Kept, tell
from core.wire import Message
from launch.decide import buddy
from launch.keeperconfig import Place
from launch.members import Node


def orders(
    seated: Sequence[str],
    *,
    nodes: Mapping[str, Node],
    spares: Sequence[str],
    generation: int,
    void_after: int,
    voids: Sequence[tuple[int, int]],
    place: Place,
) -> dict[str, Message]:
    """The order for each node that trains, `seated` in the order of their ranks. The first rank holds the store."""
    first, local_size = nodes[seated[0]], place.ranks_per_node
    made = {}
    for at, name in enumerate(seated):
        other = buddy(name, seated=seated, spares=spares)
        told = Kept(
            generation=generation,
            meeting=f"{first.host}:{first.port}",
            token=place.token,
            node=name,
            shelves=(nodes[name].shelf, nodes[other].shelf) if other else (nodes[name].shelf,),
            all_shelves=tuple(node.shelf for node in nodes.values()),
            base_every=place.base_every_steps,
            void_after=void_after,
            voids=tuple(voids),
            is_awaited=place.audit_rate > 0,
            faults=place.faults,
            fault_box=place.fault_box,
        )
        ranks = [
            _rank(
                at * local_size + local, local=local, local_size=local_size, world=len(seated) * local_size, told=told
            )
            for local in range(local_size)
        ]
        made[name] = {"do": "start", "generation": generation, "void_after": void_after, "ranks": ranks}
    return made


def _rank(rank: int, *, local: int, local_size: int, world: int, told: Kept) -> dict[str, Any]:
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(local_size),
        **tell(told),
    }
    return {"rank": rank, "environment": environment}
