"""Runs stage clean on small corpora and reads what it left."""

import json
from pathlib import Path
from typing import Any

from core.artifact import Artifact, current
from data.clean import main
from data.documents import Document, read_documents
from data.sources.fetch import main as fetch_main


def clean(recipe: Path, out: Path, *overrides: str) -> Artifact:
    """The clean artifact of a fetched recipe, made in `out`."""
    main([str(recipe), f"run.inputs={recipe.parent / 'runs'}", f"run.out={out}", *overrides])
    return current(out, "clean")


def fetch_and_clean(recipe: Path, *overrides: str) -> Artifact:
    fetch_main([str(recipe), *overrides])
    main([str(recipe), *overrides])
    return current(recipe.parent / "runs", "clean")


def documents(artifact: Artifact, split: str) -> list[Document]:
    return [one for path in sorted((artifact.folder / split).iterdir()) for one in read_documents(path)]


def dropped(artifact: Artifact) -> list[dict[str, str]]:
    return [json.loads(line) for line in (artifact.folder / "dropped.jsonl").read_bytes().splitlines()]


def report(artifact: Artifact) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((artifact.folder / "report.json").read_bytes())
    return record


def content(artifact: Artifact) -> dict[str, Any]:
    """All that depends on the documents: what lies in the artifact, without the digest of its input."""
    return {"files": artifact.record["files"], "facts": artifact.facts}


def write_files(recipe: Path, alpha: list[str], beta: list[str]) -> None:
    """Give the recipe's two sources other texts; a paragraph may hold no blank line."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in alpha)
    (recipe.parent / "corpus" / "alpha.jsonl").write_text(lines, encoding="utf-8")
    (recipe.parent / "corpus" / "beta.txt").write_bytes("\n\n".join(beta).encode())


def sentence(number: int) -> str:
    return f"Déjà vu: sentence number {number} is long enough to pass every filter there is."
