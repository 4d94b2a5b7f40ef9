"""The two rounds of the network check, as pure functions; the scheme is DLRover's node check.

In the first round neighbours are paired. A pair that fails has two suspects, each of which is paired in the second
round with a node whose pair was fine: who fails again is at fault. Where no node was fine, all suspects are.
"""

from collections.abc import Sequence

Pair = tuple[int, int]


def first_round(nodes: int) -> list[Pair]:
    """Neighbours; with an odd number the last node is paired with the first, too."""
    pairs = [(node, node + 1) for node in range(0, nodes - 1, 2)]
    return [*pairs, (nodes - 1, 0)] if nodes % 2 and nodes > 1 else pairs


def second_round(nodes: int, failed: Sequence[Pair]) -> list[Pair]:
    """Every suspect with a node that was fine, as far as there is one."""
    suspects = sorted({node for pair in failed for node in pair})
    fine = [node for node in range(nodes) if node not in suspects]
    return [(suspect, fine[number % len(fine)]) for number, suspect in enumerate(suspects)] if fine else []


def at_fault(nodes: int, first: Sequence[Pair], second: Sequence[Pair]) -> list[int]:
    """The nodes at fault, by the pairs that failed in each round."""
    if second_round(nodes, first):
        return sorted({suspect for suspect, _ in second})
    return sorted({node for pair in first for node in pair})
