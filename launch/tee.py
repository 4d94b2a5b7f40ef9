"""Keeps what a stage's processes write to standard output and error, while it goes on to the terminal.

`<out>/stdout/STAGE.log` holds it, of those starts in which something was made; a stage whose artifact was found adds
nothing, so a run that is repeated keeps its files. What the clock, the machine and the terminal decide is in it, so it
is a witness and no part of any artifact. A bundle takes it, cleaned (release/console.py).
"""

import os
import selectors
import termios
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

FOLDER = "stdout"
# Of each stage; the journals hold the same with full numbers, and go on.
MAX_BYTES = 4 << 20
FULL = b"\n[what was written beyond this is not kept]\n"
READ_BYTES, LOOK_S = 1 << 16, 0.05


class Tee:
    """A place for processes to write to: `handle` is theirs, and what comes goes to `target` and aside."""

    def __init__(self, out: Path, stage: str, *, target: int) -> None:
        self._folder, self._stage, self._target = out / FOLDER, stage, target
        self._kept = bytearray()
        # On a terminal they see one too, and draw their bars.
        self._source, self.handle = _terminal() if os.isatty(target) else os.pipe()
        self._is_over = Event()
        self._thread = Thread(target=self._copy, daemon=True)

    def begin(self) -> None:
        """Copy from now on; the processes have their handle by now."""
        os.close(self.handle)
        self._thread.start()

    def end(self, *, is_made: Callable[[], bool]) -> None:
        """Copy what is still there, and keep all of it if something was made."""
        self._is_over.set()
        self._thread.join()
        os.close(self._source)
        path = self._folder / f"{self._stage}.log"
        held = path.stat().st_size if path.exists() else 0
        if not is_made() or not self._kept or held >= MAX_BYTES:
            return
        self._folder.mkdir(exist_ok=True)
        room = MAX_BYTES - held
        kept = bytes(self._kept)
        with path.open("ab") as stream:
            stream.write(kept if len(kept) < room else kept[: max(room - len(FULL), 0)] + FULL)

    def _copy(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._source, selectors.EVENT_READ)
            while True:
                if not selector.select(LOOK_S):
                    # Nothing more comes once all processes have ended, even if a stranger holds the other end.
                    if self._is_over.is_set():
                        return
                    continue
                content = _read(self._source)
                if not content:
                    return
                os.write(self._target, content)
                self._kept += content[: MAX_BYTES - len(self._kept)]


def _terminal() -> tuple[int, int]:
    source, handle = os.openpty()
    settings = termios.tcgetattr(handle)
    # The terminal behind it makes its own line ends.
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(handle, termios.TCSANOW, settings)
    return source, handle


def _read(source: int) -> bytes:
    # A terminal that nobody writes to any more is an error to read, and the end of it.
    try:
        return os.read(source, READ_BYTES)
    except OSError:
        return b""
