"""Every matrix has one owner, and the work is spread."""

from train.owners import assign

SHAPES = {f"blocks.{block}.{name}": (64, width) for block in range(3) for name, width in (("wq", 64), ("w1", 192))}


def test_every_matrix_has_an_owner_and_the_largest_are_spread() -> None:
    owners = assign(SHAPES, ranks=3)
    assert owners.keys() == SHAPES.keys()
    assert sorted(owners[name] for name in SHAPES if name.endswith("w1")) == [0, 1, 2]
    assert sorted(owners[name] for name in SHAPES if name.endswith("wq")) == [0, 1, 2]


def test_the_order_in_which_matrices_are_named_does_not_matter() -> None:
    assert assign(dict(reversed(SHAPES.items())), ranks=2) == assign(SHAPES, ranks=2)


def test_with_more_ranks_than_matrices_some_own_nothing() -> None:
    assert set(assign({"a": (4, 4)}, ranks=5).values()) == {0}
