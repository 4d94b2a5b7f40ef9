"""Files on this machine by what they hold: where a rebuild finds what no server has."""

from dataclasses import dataclass, field
from pathlib import Path

from core.hashing import hash_file
from core.progress import Progress


@dataclass(slots=True)
class Library:
    """The files below a folder, by SHA-256; hashed when first asked for. Without a folder it is empty."""

    folder: Path | None
    _paths: dict[str, Path] | None = field(default=None, init=False)

    def find(self, sha256: str) -> Path | None:
        """The path of a file with this content; the first by name if there are several."""
        if self._paths is None:
            self._paths = self._index()
        return self._paths.get(sha256)

    def _index(self) -> dict[str, Path]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file()) if self.folder else []
        progress = Progress("look through local files", total=len(paths), unit="files")
        found: dict[str, Path] = {}
        for path in paths:
            found.setdefault(hash_file(path), path.absolute())
            progress.advance()
        return found
