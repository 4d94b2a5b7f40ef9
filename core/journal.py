"""The journal: everything worth logging that placement and the clock may change. Never compared, never hashed.

One JSON line an event; the console line is a view of it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO


class Journal:
    """Appends events to a file, and speaks on standard error where asked to."""

    def __init__(self, path: Path | None, *, rank: int = 0, generation: int = 0, is_speaking: bool = True) -> None:
        self._stream = _append_to(path) if path else None
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
    """Every whole line of a journal; lines torn by a kill are passed over."""
    content = path.read_bytes() if path.exists() else b""
    return [line for text in content.split(b"\n") if (line := _whole(text)) is not None]


def _whole(text: bytes) -> dict[str, Any] | None:
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line


def _append_to(path: Path) -> TextIO:
    with path.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read() != b"\n":
                # A kill has torn the last line; the next one must not be glued to it.
                stream.write(b"\n")
    return path.open("a", encoding="utf-8", buffering=1)
