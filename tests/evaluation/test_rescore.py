"""The parts of rescore that need no model; what it finds in forgeries is in tests/release/test_deep_tampering.py."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from data.documents import Document
from evaluation.likelihood import Window
from evaluation.rescore import ALL, OPTIONS, check_results, draw, first_other_token, parse, read_windows
from evaluation.score import Texts, results_of

TEXTS = Texts(
    chosen={"alpha": ([Document("k1", "alpha", "ab cd", "x"), Document("k2", "alpha", "ef", "y")], 2)},
    places=[("alpha", "k1"), ("alpha", "k2")],
    ids=[[5, 6, 7], [8]],
)
WINDOWS = [Window(text=0, start=0, scored=0, end=2), Window(0, 1, 2, 3), Window(1, 0, 0, 1)]
NATS = [2.5, 1.25, 0.75]


def write(path: Path, nats: list[float], *, left_out: int = -1) -> Path:
    rows = [TEXTS.line(window) | {"nats": value.hex()} for window, value in zip(WINDOWS, nats, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for index, row in enumerate(rows) if index != left_out))
    return path


def test_windows_are_read_where_documents_and_tokenizer_give_them(tmp_path: Path) -> None:
    assert read_windows(write(tmp_path / "w", NATS), TEXTS, WINDOWS) == NATS
    with pytest.raises(DataError, match=r"line 1 is of .* documents and tokenizer give"):
        read_windows(write(tmp_path / "w", NATS, left_out=0), TEXTS, WINDOWS)
    with pytest.raises(DataError, match="has 2 windows; documents and tokenizer give 3"):
        read_windows(write(tmp_path / "w", NATS, left_out=2), TEXTS, WINDOWS)


def test_results_must_follow_from_the_windows_up_to_the_rounding_of_sums(tmp_path: Path) -> None:
    results = results_of(TEXTS, [2.5 + 1.25, 0.75])
    results["total"]["bits_per_byte"] *= 1 + 1e-15
    (tmp_path / "r").write_text(json.dumps(results))
    check_results(tmp_path / "r", TEXTS, WINDOWS, NATS)
    with pytest.raises(DataError, match=r"sources\.alpha\.bits_per_byte is .* follows"):
        check_results(tmp_path / "r", TEXTS, WINDOWS, [2.5, 1.25, 0.7501])
    results["total"]["documents"] = 3
    (tmp_path / "r").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"total\.documents is 3, 2 follows"):
        check_results(tmp_path / "r", TEXTS, WINDOWS, NATS)


def test_the_draw_follows_from_its_seed_and_reaches_every_place() -> None:
    assert draw(9, seed=1, name="x", count=3) == draw(9, seed=1, name="x", count=3)
    assert {place for seed in range(200) for place in draw(9, seed=seed, name="x", count=1)} == set(range(9))
    assert draw(9, seed=1, name="x", count=-1) == draw(9, seed=1, name="x", count=99) == list(range(9))


def test_a_sample_differs_at_its_first_other_token() -> None:
    said = {"prompt": "The", "text": "a", "ids": [1, 2, 3]}
    assert first_other_token(said, dict(said)) == ""
    assert "differs at token 1: [2, 3] written, [9, 3] found" in first_other_token(said, {**said, "ids": [1, 9, 3]})
    assert "differs at token 3: [] written, [4] found" in first_other_token(said, {**said, "ids": [1, 2, 3, 4]})


def test_what_is_missing_or_no_number_is_named() -> None:
    given = [word for option in OPTIONS for word in (option, "7")]
    rest, asked = parse(["recipe", *given])
    assert (rest, asked.batches, asked.draw) == (["recipe"], 7, 7)
    assert parse(["recipe", *given[:-1], ALL])[1].samples == -1
    with pytest.raises(ConfigError, match="needs --samples"):
        parse(["recipe", *given[:-2]])
    with pytest.raises(ConfigError, match="--samples is 'few'"):
        parse(["recipe", *given[:-1], "few"])
