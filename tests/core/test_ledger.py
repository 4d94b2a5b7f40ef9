"""The ledger: a chain that shows every edit, and goes on after a kill."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.hashing import canonical_json, sha256_hex
from core.ledger import FORMAT, Ledger, first_difference, full_head, genesis, read_lines, trajectory_head

FIRST = genesis(code="c", config="f", data="d", profile="p")


def numbers(step: int, **changed: Any) -> dict[str, Any]:
    return {"step": step, "tokens": 64 * step, "loss": (5.0 / step).hex(), "norm": (1.0).hex(), **changed}


def written(path: Path, steps: int = 4) -> Ledger:
    ledger = Ledger(path, FIRST)
    for step in range(1, steps + 1):
        ledger.append(numbers(step))
    return ledger


def test_every_line_names_the_hash_of_the_one_before(tmp_path: Path) -> None:
    ledger = written(tmp_path / "l")
    lines = (tmp_path / "l").read_bytes().splitlines()
    for before, line in pairwise(lines):
        assert json.loads(line)["prev"] == sha256_hex(before)
    assert ledger.head == full_head(read_lines(tmp_path / "l")) == sha256_hex(lines[-1])


def test_the_trajectory_head_is_the_chain_over_the_numbers_alone(tmp_path: Path) -> None:
    head = sha256_hex(FORMAT.encode())
    for step in (1, 2):
        head = sha256_hex(canonical_json([head, numbers(step)]))
    assert trajectory_head(written(tmp_path / "l", steps=2).steps) == head


def test_another_genesis_changes_the_full_head_only(tmp_path: Path) -> None:
    one = written(tmp_path / "one")
    other = Ledger(tmp_path / "other", {**FIRST, "code": "other"})
    for step in range(1, 5):
        other.append(numbers(step))
    assert trajectory_head(one.steps) == trajectory_head(other.steps)
    assert one.head != other.head
    assert first_difference(one.steps, other.steps) is None


EDITS = [
    # the edited line (1 is the genesis), the edit, and the line that shows it
    (1, (b'"d"', b'"e"'), 2),
    (2, (b"0x1.4", b"0x1.5"), 3),
    (4, (b'"tokens":192', b'"tokens":193'), 5),
    (3, (b'"step":2', b'"step":3'), 3),
    (3, (b'"prev":"', b'"prev":"0'), 3),
    (5, (b'"prev":"', b'"prev":"0'), 5),
    (1, (b'"ledger"', b'"lodger"'), 1),
]


@pytest.mark.parametrize(("line", "edit", "shown_by"), EDITS)
def test_an_edit_is_shown_by_the_line_or_by_the_next(
    tmp_path: Path, line: int, edit: tuple[bytes, bytes], shown_by: int
) -> None:
    written(tmp_path / "l").close()
    lines = (tmp_path / "l").read_bytes().splitlines(keepends=True)
    assert edit[0] in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(*edit)
    (tmp_path / "l").write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=f"line {shown_by} does not follow"):
        read_lines(tmp_path / "l")


def test_an_edit_of_the_last_line_shows_in_both_heads(tmp_path: Path) -> None:
    ledger = written(tmp_path / "l")
    (tmp_path / "l").write_bytes((tmp_path / "l").read_bytes().replace(b'"tokens":256', b'"tokens":257'))
    lines = read_lines(tmp_path / "l")
    assert full_head(lines) != ledger.head
    assert trajectory_head(lines[1:]) != trajectory_head(ledger.steps)


def test_a_removed_doubled_or_swapped_line_is_named(tmp_path: Path) -> None:
    written(tmp_path / "l").close()
    a, b, c, d, e = (tmp_path / "l").read_bytes().splitlines(keepends=True)
    for number, lines in [(3, [a, b, d, e]), (4, [a, b, c, c, d, e]), (3, [a, b, d, c, e]), (1, [b, c, d, e])]:
        (tmp_path / "l").write_bytes(b"".join(lines))
        with pytest.raises(DataError, match=f"line {number} does not follow"):
            read_lines(tmp_path / "l")


def test_a_line_in_another_spelling_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "l").close()
    text = (tmp_path / "l").read_text().replace('"step":4', '"step": 4')
    (tmp_path / "l").write_text(text)
    with pytest.raises(DataError, match="line 5"):
        read_lines(tmp_path / "l")


def test_a_torn_last_line_is_dropped_by_the_writer_and_refused_by_the_reader(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole")
    torn = tmp_path / "torn"
    content = (tmp_path / "whole").read_bytes()
    start_of_last = content.rstrip(b"\n").rindex(b"\n") + 1
    for cut in (start_of_last + 1, start_of_last + 40, len(content) - 2, len(content) - 1):
        torn.write_bytes(content[:cut])
        with pytest.raises(DataError, match="the ledger was cut"):
            read_lines(torn)
        ledger = Ledger(torn, FIRST)
        assert len(ledger.steps) == 3
        ledger.append(numbers(4))
        assert ledger.head == whole.head
        ledger.close()
        assert torn.read_bytes() == content


def test_a_ledger_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    written(tmp_path / "l", steps=2).close()
    ledger = Ledger(tmp_path / "l", FIRST)
    for step in (3, 4):
        ledger.append(numbers(step))
    ledger.sync()
    assert ledger.head == written(tmp_path / "at once").head


def test_a_process_that_wakes_up_after_another_has_opened_the_ledger_appends_to_nothing(tmp_path: Path) -> None:
    frozen = written(tmp_path / "l", steps=2)
    ledger = Ledger(tmp_path / "l", FIRST)
    frozen.append(numbers(3))
    ledger.append(numbers(3, loss="0x1p0"))
    assert [line["loss"] for line in read_lines(tmp_path / "l")[3:]] == ["0x1p0"]


def test_the_ledger_of_another_run_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "l").close()
    with pytest.raises(DataError, match="another run"):
        Ledger(tmp_path / "l", {**FIRST, "data": "other"})


def test_a_cut_returns_what_it_drops_and_the_redone_steps_give_the_same_head(tmp_path: Path) -> None:
    ledger = written(tmp_path / "l")
    head = ledger.head
    dropped = ledger.cut(2)
    assert [line["step"] for line in dropped] == [3, 4] and len(read_lines(tmp_path / "l")) == 3
    for step in (3, 4):
        ledger.append(numbers(step))
    assert ledger.head == head and first_difference(dropped, ledger.steps[2:]) is None
    assert ledger.cut(9) == []
    assert [line["step"] for line in ledger.cut(0)] == [1, 2, 3, 4]
    assert ledger.steps == []


def test_the_first_difference_names_step_and_the_field_nearest_to_the_cause(tmp_path: Path) -> None:
    left = [numbers(step) for step in (1, 2, 3)]
    right = [numbers(1), numbers(2, loss="0x0p+0", norm="0x0p+0"), numbers(3, tokens=0)]
    found = first_difference(left, right)
    assert found is not None and (found.step, found.field) == (2, "loss")
    assert str(found) == f"step 2, field loss: {(2.5).hex()} against 0x0p+0"
    assert first_difference(left, left) is None


def test_a_missing_step_and_a_field_of_no_known_name_are_differences() -> None:
    steps = [numbers(step) for step in (1, 2, 3)]
    shorter = first_difference(steps, steps[:2])
    assert shorter is not None and (shorter.step, shorter.field, shorter.left, shorter.right) == (3, "step", 3, 2)
    other = first_difference(steps, [steps[0], {**steps[1], "router": 7}, steps[2]])
    assert other is not None and (other.step, other.field, other.right) == (2, "router", 7)
