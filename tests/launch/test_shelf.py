"""What lies on a keeper's shelf, over real connections."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.hashing import sha256_hex
from core.wire import Wire, connect
from launch.shelf import Shelf, ShelfServer

TOKEN = "a token"


@pytest.fixture
def shelf() -> Shelf:
    """An empty shelf."""
    return Shelf()


@pytest.fixture
def wire(shelf: Shelf) -> Iterator[Wire]:
    """A rank's connection to it."""
    server = ShelfServer(shelf, host="127.0.0.1", token=TOKEN)
    connected = connect(server.address, token=TOKEN, connect_s=10, timeout_s=10)
    yield connected
    connected.close()


def _header(kind: str, step: int, content: bytes, *, generation: int = 1, rank: int = 0) -> dict[str, Any]:
    return {"kind": kind, "step": step, "generation": generation, "rank": rank, "sha256": sha256_hex(content)}


def _put(wire: Wire, kind: str, step: int, content: bytes = b"bytes", **facts: int) -> dict[str, Any]:
    return wire.ask({"do": "put", "header": _header(kind, step, content, **facts)}, content)[0]


def _steps(shelf: Shelf, kind: str) -> list[int]:
    return sorted(header["step"] for header in shelf.headers() if header["kind"] == kind)


def test_what_was_put_is_had_again(wire: Wire) -> None:
    content = bytes(range(256)) * 4096
    assert _put(wire, "base", 4, content) == {}
    assert _put(wire, "log", 5, b"") == {}
    listed = wire.ask({"do": "list"})[0]["headers"]
    assert [(header["kind"], header["step"]) for header in listed] == [("base", 4), ("log", 5)]
    answer, got = wire.ask({"do": "get", "key": [1, 0, "base", 4, 0]})
    assert answer == {"found": True} and got == content
    assert wire.ask({"do": "get", "key": [1, 1, "base", 4, 0]})[0] == {"found": False}


def test_bytes_that_changed_on_the_way_are_refused(wire: Wire, shelf: Shelf) -> None:
    header = _header("base", 4, b"these bytes")
    assert "not those" in wire.ask({"do": "put", "header": header}, b"other bytes")[0]["error"]
    assert shelf.headers() == []


def test_a_rank_of_an_older_generation_is_refused(wire: Wire, shelf: Shelf) -> None:
    assert _put(wire, "log", 5, generation=1) == {}
    shelf.begin(2, void_after=-1)
    assert "generation 2 has begun" in _put(wire, "log", 6, generation=1)["error"]
    assert _put(wire, "log", 6, generation=2) == {}
    assert _steps(shelf, "log") == [5, 6]


def test_two_bases_stay_with_the_logs_behind_the_older_one(wire: Wire, shelf: Shelf) -> None:
    for step in (0, 3, 6):
        for log in range(step + 1, step + 4):
            assert "error" not in _put(wire, "base", step) | _put(wire, "log", log)
    assert (_steps(shelf, "base"), _steps(shelf, "log")) == ([3, 6], [4, 5, 6, 7, 8, 9])


def test_what_older_generations_left_goes_when_the_state_has_been_handed_in_twice(wire: Wire, shelf: Shelf) -> None:
    _put(wire, "base", 3, rank=5)
    _put(wire, "log", 4, rank=5)
    shelf.begin(2, void_after=-1)
    _put(wire, "base", 4, generation=2)
    assert _steps(shelf, "log") == [4]
    _put(wire, "base", 7, generation=2)
    assert (_steps(shelf, "base"), _steps(shelf, "log")) == ([4, 7], [])


def test_nothing_is_thrown_away_for_its_age_while_it_is_audited(wire: Wire, shelf: Shelf) -> None:
    shelf.is_pinned = True
    for step in (0, 3, 6):
        _put(wire, "base", step)
    assert _steps(shelf, "base") == [0, 3, 6]
    shelf.is_pinned = False
    _put(wire, "base", 9)
    assert _steps(shelf, "base") == [6, 9]


def test_what_was_computed_wrongly_is_thrown_away(wire: Wire, shelf: Shelf) -> None:
    for step in (3, 6):
        _put(wire, "base", step)
    shelf.begin(2, void_after=4)
    assert _steps(shelf, "base") == [3]


def test_who_does_not_know_the_token_is_told_nothing(shelf: Shelf) -> None:
    server = ShelfServer(shelf, host="127.0.0.1", token=TOKEN)
    stranger = connect(server.address, token="another", connect_s=10, timeout_s=10)
    with pytest.raises(OSError):
        stranger.ask({"do": "list"})
