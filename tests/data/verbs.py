"""Fetch and clean over small recipes of good and bad input: what stays, and how a refusal reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.artifact import current
from core.errors import DataError
from data.clean import main as clean_main
from data.documents import read_documents
from data.sources.fetch import main as fetch_main

TEXTS = [f"Sound text number {number} has enough words to stay in the corpus." for number in range(40)]
TXT = "\n\n".join(TEXTS).encode()


def run(recipe: Path) -> dict[str, Any]:
    """Fetch and clean; the total of the report."""
    fetch_main([str(recipe)])
    clean_main([str(recipe)])
    report = json.loads((current(recipe.parent / "runs", "clean").folder / "report.json").read_bytes())
    total: dict[str, Any] = report["total"]
    assert total["in"]["documents"] == total["train"]["documents"] + total["dropped"]["documents"]
    return total


def texts_of(recipe: Path) -> set[str]:
    """The texts that stay."""
    folder = current(recipe.parent / "runs", "clean").folder / "train"
    return {document.text for path in folder.iterdir() for document in read_documents(path)}


def refused(recipe: Path) -> str:
    """Run on bad input: one line, exit code 66, and no clean artifact, also no torn one; returns the line."""
    with pytest.raises(DataError) as caught:
        run(recipe)
    assert caught.value.exit_code == 66
    assert "\n" not in str(caught.value)
    assert not list((recipe.parent / "runs").glob("clean*"))
    return str(caught.value)
