"""Which folder may import which, the hash of the code that a stage runs, and the guard against foreign code.

The table is the house's law: tests/test_import_layers.py enforces it, and a stage's code hash covers exactly the
folders that it may import, so that work is redone when, and only when, code that could matter to it has changed.
"""

import importlib.util
from functools import cache
from pathlib import Path

from core.errors import ConfigError
from core.hashing import hash_file, hash_value

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "core": (),
    "data": ("core",),
    "model": ("core",),
    "train": ("core", "data", "model"),
    "posttrain": ("core", "data", "model", "train"),
    "inference": ("core", "data", "model"),
    "evaluation": ("core", "data", "model", "inference"),
    "launch": ("core",),
    "release": ("core",),
}


@cache
def code_files(folder: str) -> dict[str, str]:
    """SHA-256 of every Python file in a folder and in the folders it may import, by path."""
    return {
        path.relative_to(ROOT).as_posix(): hash_file(path)
        for name in sorted({folder, *MAY_IMPORT[folder]})
        for path in sorted((ROOT / name).rglob("*.py"))
    }


def code_hash(folder: str) -> str:
    """Hash of every Python file in a folder and in the folders it may import."""
    return hash_value(code_files(folder))


def check_code_root() -> None:
    """Refuse to run when one of our folders would be imported from somewhere else.

    Raises ConfigError naming the folder and where it came from.
    """
    for name in (name for name in MAY_IMPORT if (ROOT / name).is_dir()):
        spec = importlib.util.find_spec(name)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if places != [ROOT / name]:
            found = str(places[0]) if places else "nowhere"
            raise ConfigError(
                f"folder {name} would be imported from {found}, not from {ROOT}; "
                "start from the checkout with python -m, and clear PYTHONPATH"
            )
