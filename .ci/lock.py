"""Write requirements.lock and requirements-dev.lock: every package with its version and the hash of the very file.

usage: pip install --dry-run --ignore-installed --quiet --report REPORT '.[dev]' && python .ci/lock.py REPORT

What running needs goes into the first, what only tests and checks need into the second. Run by a Python that has pip,
whose own reader of requirements is used.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement

HEADER = """\
# The exact set that the golden heads were made with: CPython 3.11, Linux x86-64. Written by `make lock`.
# torch is the CPU build. Where pip would find another build, the hash stops it: name PyTorch's CPU wheels to pip
# (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS) and install again.
"""
DEV_HEADER = "# What tests and checks need besides requirements.lock. Written by `make lock`.\n"

Item = dict[str, Any]


def main() -> None:
    """Read pip's report and write both locks."""
    items = {normal(item["metadata"]["name"]): item for item in json.loads(Path(sys.argv[1]).read_text())["install"]}
    (project,) = [name for name, item in items.items() if "archive_info" not in item["download_info"]]
    needed = closure(project, items) - {project}
    write("requirements.lock", HEADER, [items[name] for name in needed])
    write("requirements-dev.lock", DEV_HEADER, [items[name] for name in items.keys() - needed - {project}])


def closure(project: str, items: dict[str, Item]) -> set[str]:
    """The project and everything that it needs when it runs."""
    found: set[str] = set()
    waiting = [(project, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        for line in items[name]["metadata"].get("requires_dist", []):
            wanted = Requirement(line)
            is_wanted = not wanted.marker or any(wanted.marker.evaluate({"extra": extra}) for extra in extras or {""})
            following = (normal(wanted.name), frozenset(wanted.extras))
            if is_wanted and following not in seen:
                seen.add(following)
                waiting.append(following)
    return found


def write(path: str, header: str, items: list[Item]) -> None:
    """Write a lock, sorted by name."""
    rows = []
    for item in items:
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        public = item["metadata"]["version"].partition("+")[0]
        rows.append(f"{normal(item['metadata']['name'])}=={public} \\\n    --hash=sha256:{digest}\n")
    Path(path).write_text(header + "".join(sorted(rows)))


def normal(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
