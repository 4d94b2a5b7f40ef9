"""Verb pages: the generated parts of the repository's README.md and MANIFEST.md.

usage: python -m release pages [--write]

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of generated: NAME -->`.
"""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from core.arguments import Parser
from core.codetree import MAY_IMPORT, ROOT
from core.config import STAGES, resolve
from core.errors import DataError
from release.golden import read_golden
from release.layout import CONTENTS

PAGES = ("README.md", "MANIFEST.md")
GOLDEN = ROOT / "tests" / "golden" / "smoke.txt"


def main(arguments: list[str]) -> None:
    """Run the verb: say which pages are stale, or with --write bring them up to date."""
    parser = Parser("python -m release pages [--write]")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    stale = stale_pages()
    for path, content in stale.items():
        if given.write:
            path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path.name}: {'written' if given.write else 'stale'}\n")
    if stale and not given.write:
        raise DataError("generated parts are stale; run python -m release pages --write")


def stale_pages() -> dict[Path, str]:
    """The pages whose generated parts are not what they should be, with what they should say."""
    pages = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    renewed = {path: renew(content) for path, content in pages.items()}
    return {path: content for path, content in renewed.items() if content != pages[path]}


def renew(content: str) -> str:
    """A page with every generated part made anew."""
    for name, make in PARTS.items():
        marks = (f"<!-- generated: {name} -->\n", f"<!-- end of generated: {name} -->")
        part = "".join((marks[0], *(f"{row}\n" for row in make()), marks[1]))
        pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
        content = re.sub(pattern, part.replace("\\", r"\\"), content, flags=re.DOTALL)
    return content


def folders() -> list[str]:
    """A table of the folders: what each is, and what it may import, from the code itself."""
    rows = ["| folder | what it is | may import |", "|---|---|---|"]
    for name, allowed in MAY_IMPORT.items():
        if (ROOT / name / "__init__.py").exists():
            rows.append(f"| `{name}/` | {_first_sentence(ROOT / name / '__init__.py')} | {', '.join(allowed) or '—'} |")
    return rows


def stages() -> list[str]:
    """A table of the stages: the artifact, how to make it alone, and from what."""
    described, smoke = OmegaConf.to_container(OmegaConf.load(STAGES)), resolve("smoke")
    rows = ["| artifact | made from | made again by |", "|---|---|---|"]
    for name, facts in cast(dict[str, Any], described).items():
        inputs = ", ".join(facts["inputs"]) or "the sources"
        recipe = "smoke" if facts.get("section") in (None, *smoke) else f"RECIPE` with section `{facts['section']}"
        rows.append(f"| `{name}-KEY/` | {inputs} | `python -m {facts['folder']} {facts['verb']} {recipe}` |")
    return rows


def bundle_contents() -> list[str]:
    """A table of what a bundle holds."""
    rows = [f"| `{name}` | {role} | {what} |" for name, (role, _, what) in CONTENTS.items()]
    return ["| in a bundle | role | what it is |", "|---|---|---|", *rows]


def golden() -> list[str]:
    """The golden hashes of the smoke run."""
    values = read_golden(GOLDEN.read_text(encoding="utf-8").splitlines())
    return ["```", *(f"{name:<16} {value}" for name, value in values.items()), "```"]


def data() -> list[str]:
    """The sources of the smoke recipe: what a corpus of its is made of, before anything is fetched."""
    rows = ["| source | kind | package | version | SHA-256 | licence | language |", "|---|---|---|---|---|---|---|"]
    for item in resolve("smoke")["sources"]["items"]:
        values = (item[name] for name in ("name", "kind", "package", "version"))
        rows.append(f"| {' | '.join(values)} | `{item['sha256'][:16]}…` | {item['license']} | {item['language']} |")
    return rows


PARTS: dict[str, Callable[[], list[str]]] = {
    "folders": folders,
    "stages": stages,
    "data": data,
    "bundle": bundle_contents,
    "golden": golden,
}


def _first_sentence(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.split("\n")[0].rstrip(".")
