"""Nodes that are left alone for a while: why, with what evidence, until when. A file that people may edit.

`quarantine.json` in the run's keeper folder: {"node": {"reason": ..., "evidence": ..., "since": ..., "until": ...}},
times in seconds since 1970. A node that is let in again must show its passport like any other.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.durable import write_durably
from launch.room import write_patiently

NAME = "quarantine.json"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The file."""

    folder: Path

    def put(self, node: str, *, reason: str, evidence: str, seconds: float) -> None:
        """Leave a node alone from now on for `seconds`."""
        now = time.time()
        entry = {"reason": reason, "evidence": evidence, "since": now, "until": now + seconds}
        content = json.dumps({**self.entries(), node: entry}, indent=1).encode()
        write_patiently(lambda: write_durably(self.folder / NAME, content), str(self.folder))

    def entries(self) -> dict[str, dict[str, Any]]:
        """What is in the file, expired or not."""
        path = self.folder / NAME
        entries: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        return entries

    def reason(self, node: str) -> str:
        """Why a node is left alone now; empty if it is not."""
        entry = self.entries().get(node)
        return str(entry["reason"]) if entry and time.time() < entry["until"] else ""
