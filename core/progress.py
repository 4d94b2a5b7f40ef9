"""Progress of long work: a bar with rate and remaining time on a terminal, plain lines in a log."""

import sys
import time
from typing import TextIO

BAR_WIDTH = 24
TERMINAL_EVERY_S = 0.2
LOG_EVERY_S = 10.0


class Progress:
    """Counts up to a total that is known; writes to standard error."""

    def __init__(self, what: str, *, total: int, unit: str, done: int = 0, stream: TextIO | None = None) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._first = done
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._started = self._spoke = time.monotonic()

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """Say that `count` more are done; `note` is shown behind the bar."""
        self._done += count
        now = time.monotonic()
        wait = TERMINAL_EVERY_S if self._is_terminal else LOG_EVERY_S
        if now - self._spoke >= wait or self._done >= self._total:
            self._spoke = now
            self._write(now - self._started, note)

    def _write(self, elapsed_s: float, note: str) -> None:
        rate = (self._done - self._first) / max(elapsed_s, 1e-9)
        left_s = (self._total - self._done) / rate if rate else 0.0
        share = self._done / max(self._total, 1)
        facts = f"{self._done}/{self._total} {self._unit}, {rate:.1f}/s, {_clock(left_s)} left"
        line = f"{self._what} {facts}{', ' + note if note else ''}"
        if not self._is_terminal:
            print(line, file=self._stream, flush=True)
            return
        bar = "#" * round(share * BAR_WIDTH)
        end = "\n" if self._done >= self._total else ""
        self._stream.write(f"\r\x1b[K[{bar:<{BAR_WIDTH}}] {line}{end}")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
