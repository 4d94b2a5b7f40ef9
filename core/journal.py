"""The journal: everything worth logging that placement and the clock may change. Never compared, never hashed.

One JSON line an event; the console line is a view of it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends events to a file, and speaks on standard error where asked to."""

    def __init__(self, path: Path | None, *, rank: int = 0, generation: int = 0, is_speaking: bool = True) -> None:
        self._stream = path.open("a", encoding="utf-8", buffering=1) if path else None
        self._common = {"rank": rank, "generation": generation}
        self._is_speaking = is_speaking

    def event(self, name: str, **facts: Any) -> None:
        """Record a past event, such as `checkpoint.saved`, and say it on the console."""
        self.record(name, **facts)
        if self._is_speaking:
            print(f"{name}: {say(facts)}" if facts else name, file=sys.stderr, flush=True)

    def record(self, name: str, **facts: Any) -> None:
        """Record an event without a word on the console."""
        if self._stream:
            line = {"time": time.time(), "event": name, **self._common, **facts}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def say(facts: dict[str, Any]) -> str:
    """Facts as a person reads them: `step 400, seconds 1.2`."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a journal; a torn last line, left by a kill, is passed over."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
