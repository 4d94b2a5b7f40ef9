"""A gradient in several tensors is shared out as one would be."""

import torch

from train.zero1 import joined, shared_out


def test_parts_of_tensors_are_those_of_the_whole_and_share_its_memory() -> None:
    sizes, counts = [3, 0, 5, 1, 4], [0, 4, 4, 0, 5]
    tensors = list(torch.arange(13.0).split_with_sizes(sizes))
    parts = shared_out(tensors, counts)
    whole = torch.arange(13.0).split_with_sizes(counts)
    assert all(map(torch.equal, joined(parts), whole))
    parts[1][0][0] = 7.0
    assert tensors[0][0] == 7.0


def test_a_part_that_is_one_tensor_is_not_copied() -> None:
    tensors = [torch.arange(3.0), torch.arange(2.0)]
    same = joined(shared_out(tensors, [3, 2]))
    assert [one.data_ptr() for one in same] == [one.data_ptr() for one in tensors]
