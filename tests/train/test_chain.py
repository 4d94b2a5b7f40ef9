"""From which entries on shelves a state can be had again, as tables."""

from typing import Any

import pytest

from train.chain import Chain, chains, choose_chain, is_void


def _header(kind: str, step: int, rank: int, *, generation: int = 1, world: int = 2) -> dict[str, Any]:
    return {"kind": kind, "step": step, "rank": rank, "generation": generation, "world": world}


def _set(kind: str, step: int, **facts: Any) -> list[dict[str, Any]]:
    return [_header(kind, step, rank, **facts) for rank in range(facts.get("world", 2))]


def _reach(found: list[Chain]) -> list[tuple[int, int]]:
    return [(chain.base, chain.last) for chain in found]


def test_a_chain_goes_as_far_as_its_logs_are_complete() -> None:
    headers = [*_set("base", 4), *_set("log", 5), *_set("log", 6), _header("log", 7, 0), *_set("log", 8)]
    assert _reach(chains({"one": headers})) == [(4, 6)]


def test_a_base_that_lacks_a_rank_is_none() -> None:
    assert chains({"one": [_header("base", 4, 0), *_set("log", 5)]}) == []


def test_what_a_lost_shelf_held_is_found_on_the_other() -> None:
    left = [_header("base", 4, 0), _header("log", 5, 0), _header("log", 5, 1)]
    right = [_header("base", 4, 1), _header("base", 4, 0)]
    (chain,) = chains({"left": left, "right": right})
    assert (chain.base, chain.last) == (4, 5)
    assert [entry.shelves for entry in chain.bases] == [("left", "right"), ("right",)]
    assert chains({"left": left}) == []


def test_generations_of_different_size_follow_each_other() -> None:
    headers = [*_set("base", 4), *_set("log", 5), *_set("log", 6, generation=2, world=3), _header("log", 6, 0)]
    assert _reach(chains({"one": headers})) == [(4, 6)]


def test_the_chain_that_reaches_furthest_comes_first_and_then_the_one_with_the_newest_base() -> None:
    headers = [*_set("base", 2), *_set("base", 4), *_set("log", 3), *_set("log", 4), *_set("log", 5)]
    assert _reach(chains({"one": headers})) == [(4, 5), (2, 5)]


def _logs(*steps: int, returns: int, is_return: bool = False) -> list[dict[str, Any]]:
    """Logs made after so many returns; the first says whether it came right behind one."""
    told = [{"from": 7} if is_return and step == steps[0] else {} for step in steps]
    made = [
        [header | {"returns": returns, "numbers": {"returned": one}} for header in _set("log", step)]
        for step, one in zip(steps, told, strict=True)
    ]
    return [header for own in made for header in own]


def test_what_the_run_has_gone_back_behind_is_on_no_chain() -> None:
    base, void = _set("base", 4), _logs(5, 6, 7, returns=0)
    assert _reach(chains({"one": [*base, *void]})) == [(4, 7)]
    (chain,) = chains({"one": [*base, *void, *_logs(5, 6, returns=1, is_return=True)]})
    assert (chain.base, chain.last) == (4, 6)
    assert {entry.header["returns"] for entries in chain.logs.values() for entry in entries} == {1}


def test_the_void_steps_are_taken_again_until_all_ranks_have_handed_over_the_first_behind_the_return() -> None:
    base, void, after = _set("base", 4), _logs(5, 6, 7, returns=0), _logs(5, 6, returns=1, is_return=True)
    (chain,) = chains({"one": [*base, *void, *(one for one in after if (one["step"], one["rank"]) != (5, 1))]})
    assert (chain.base, chain.last) == (4, 7)
    assert {entry.header["returns"] for entries in chain.logs.values() for entry in entries} == {0}


CASES = [
    # chains, newest checkpoint, last line of the ledger, saved steps; the chosen one
    ([(4, 6)], 0, 6, 8, (4, 6)),
    ([(4, 6)], 6, 6, 3, None),
    ([(8, 9), (4, 9)], 0, 9, 8, (4, 9)),
    ([(8, 9), (4, 9)], 8, 9, 8, (8, 9)),
    ([(6, 7)], 0, 5, 8, None),
    ([(6, 7)], 0, 6, 8, (6, 7)),
    ([(4, 9)], 8, 8, 8, (4, 9)),
]


@pytest.mark.parametrize(("found", "checkpoint", "last_line", "save_every", "chosen"), CASES)
def test_a_chain_is_chosen_if_lines_and_checkpoints_up_to_it_are_there(
    found: list[tuple[int, int]], checkpoint: int, last_line: int, save_every: int, chosen: tuple[int, int] | None
) -> None:
    made = choose_chain(
        [Chain(base, last) for base, last in found],
        checkpoint=checkpoint,
        last_line=last_line,
        is_saved=lambda step: step % save_every == 0,
    )
    assert (made and (made.base, made.last)) == chosen


def test_what_was_computed_wrongly_is_void_on_any_shelf_and_what_is_computed_anew_is_not() -> None:
    headers = [_header("log", step, 0, generation=generation) for generation in (2, 3) for step in (4, 5)]
    voids = [(3, 4), (2, 0)]
    assert [is_void(header, voids) for header in headers] == [False, True, False, False]
    assert not any(is_void(header, []) for header in headers)
