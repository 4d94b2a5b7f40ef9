"""What two processes send each other is what one computes, and the doctor sees when it is not. Real processes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from train.collectives import collective_findings, expected_exchange, expected_sum
from train.runtime import World


class NarrowWorld(World):
    """Sends floats in bf16, as a compressed exchange does."""

    def exchange(self, send: Tensor, *, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        return super().exchange(send.bfloat16().float(), sent=sent, received=received)


class FloatWorld(World):
    """Adds integers as floats, whose sums are rounded."""

    def add_integers(self, values: Tensor) -> None:
        floats = values.float()
        self.add_floats(floats)
        values.copy_(floats)


class DyingWorld(World):
    """Loses rank 1 on the way."""

    def add_integers(self, values: Tensor) -> None:
        if self.rank == 1:
            raise SystemExit(3)
        super().add_integers(values)


def verdicts(world_type: type[World]) -> list[str]:
    return [finding.verdict for finding in collective_findings(world_type)]


def test_two_processes_get_what_one_computes() -> None:
    found = collective_findings()
    assert [finding.verdict for finding in found] == ["PASS", "PASS"]
    assert [finding.check.partition(",")[0] for finding in found] == ["all-to-all of floats", "sum of integers"]


def test_an_exchange_that_rounds_is_seen_and_the_sum_beside_it_is_not_blamed() -> None:
    assert verdicts(NarrowWorld) == ["FAIL", "PASS"]


def test_integers_that_are_added_as_floats_are_seen() -> None:
    assert verdicts(FloatWorld) == ["PASS", "FAIL"]


def test_a_process_that_dies_fails_both() -> None:
    found = collective_findings(DyingWorld)
    assert [finding.verdict for finding in found] == ["FAIL", "FAIL"]
    assert all("gave no answer" in finding.told for finding in found)


def test_what_is_expected_depends_on_both_ranks() -> None:
    assert not torch.equal(expected_exchange(0), expected_exchange(1)[: len(expected_exchange(0))])
    assert int(expected_sum().abs().max()) > 1 << 24, "floats would round"
