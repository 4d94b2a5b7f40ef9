"""State in pieces: what others have handed over fills what a rank needs, whatever the cuts."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.errors import RetryError
from train.tiers import Part, fill


def _parts(name: str, values: Tensor, *cuts: int) -> list[Part]:
    edges = [0, *cuts, values.numel()]
    return [Part(name, start, values[start:stop].clone()) for start, stop in pairwise(edges)]


@pytest.mark.parametrize("had", [(), (3,), (1, 9), (5, 5)])
@pytest.mark.parametrize("wanted", [(), (4,), (2, 7)])
def test_any_cut_is_filled_from_any_other(had: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    values = torch.arange(10.0)
    targets = _parts("w", torch.zeros(10), *wanted)
    fill(targets, [*_parts("w", values, *had), *_parts("other", -values)])
    assert torch.equal(torch.cat([target.values for target in targets]), values)


def test_what_several_ranks_hold_counts_once() -> None:
    values = torch.arange(10.0)
    targets = _parts("w", torch.zeros(10), 4)
    fill(targets, [*_parts("w", values), *_parts("w", values, 6)])
    assert torch.equal(torch.cat([target.values for target in targets]), values)


def test_a_hole_is_told() -> None:
    first, _, last = _parts("w", torch.arange(10.0), 4, 6)
    with pytest.raises(RetryError, match="of w ends at element 4 of 10"):
        fill(_parts("w", torch.zeros(10)), [first, last])
