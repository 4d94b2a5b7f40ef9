"""Progress: a bar on a terminal, few plain lines in a log."""

import io

import pytest

from core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as the test sets it."""
    now = [100.0]
    monkeypatch.setattr("core.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock: list[float]) -> None:
    log = io.StringIO()
    bar = Progress("train", total=40, unit="steps", stream=log)
    for _ in range(40):
        clock[0] += 1
        bar.advance(note="loss 5.0")
    lines = log.getvalue().splitlines()
    assert lines[0] == "train 10/40 steps, 1.0/s, 0:30 left, loss 5.0"
    assert [line.split()[1] for line in lines] == ["10/40", "20/40", "30/40", "40/40"]


def test_a_terminal_gets_a_bar_that_is_drawn_over_and_a_new_line_at_the_end(clock: list[float]) -> None:
    terminal = Terminal()
    bar = Progress("hash", total=2, unit="files", stream=terminal)
    for _ in range(2):
        clock[0] += 60
        bar.advance()
    first, second = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == f"[{'#' * 12}{' ' * 12}] hash 1/2 files, 0.0/s, 1:00 left"
    assert second == f"[{'#' * 24}] hash 2/2 files, 0.0/s, 0:00 left\n"


def test_what_was_done_before_does_not_count_for_the_rate(clock: list[float]) -> None:
    log = io.StringIO()
    bar = Progress("train", total=100, unit="steps", done=90, stream=log)
    clock[0] += 10
    bar.advance(5)
    assert log.getvalue() == "train 95/100 steps, 0.5/s, 0:10 left\n"


def test_nothing_to_do_is_no_fault() -> None:
    log = io.StringIO()
    Progress("pack", total=0, unit="documents", stream=log).advance(0)
    assert log.getvalue().startswith("pack 0/0 documents")
