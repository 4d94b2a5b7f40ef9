"""What outside of recipe and code may change a corpus's bytes: Python, Unicode's tables, libraries, model files.

Libraries are those that the code of data/ and core/ imports, found in the code itself, so that none is forgotten; of
these the ones that requirements.lock pins, so that what happens to be installed beside them leaves no trace.
"""

import ast
import re
import sys
import unicodedata
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import py3langid
from py3langid.langid import MODEL_FILE

from core.codetree import ROOT, code_files
from core.errors import ConfigError
from core.hashing import hash_file

LOCK = "requirements.lock"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
# Tables of numbers inside of packages, by the package that brings them.
MODELS = {"py3langid": Path(py3langid.__file__).parent / MODEL_FILE}


def environment() -> dict[str, Any]:
    """Versions and hashes, as JSON; the same wherever the lock is installed. Raises ConfigError without a lock."""
    lock = ROOT / LOCK
    if not lock.is_file():
        raise ConfigError(f"the checkout has no {LOCK}, which a manifest names by hash; restore it")
    pinned = {_plain(name) for name in PINNED.findall(lock.read_text(encoding="utf-8"))}
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "unicode": unicodedata.unidata_version,
        "lock_sha256": hash_file(lock),
        "packages": {name: version(name) for name in sorted(imported_distributions() & pinned)},
        "models": {package: {"file": path.name, "sha256": hash_file(path)} for package, path in MODELS.items()},
    }


@cache
def imported_distributions() -> frozenset[str]:
    """The distributions whose modules the code of data/ and core/ imports, also inside functions. Takes a second."""
    tops = {top for path in code_files("data") for top in _imports(ROOT / path)}
    owners = packages_distributions()
    return frozenset(_plain(owner) for top in tops for owner in owners.get(top, []))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _plain(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()
