"""The stage, as a user starts it: its numbers follow from its inputs alone."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.artifact import list_files
from core.codetree import ROOT
from core.errors import DataError
from data.documents import Document, key_of, write_documents
from evaluation.score import Scored, choose_documents, measures
from tests.conftest import run_module


@pytest.fixture(scope="module")
def scored(recipe: Path) -> Path:
    finished = run_module("evaluation", "score", recipe)
    assert finished.returncode == 0, finished.stderr
    return Path(finished.stdout.strip())


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_bytes())
    return found


def test_results_hold_every_source_beside_its_baselines(scored: Path) -> None:
    found = results(scored)
    assert found["sources"].keys() == {"alpha", "beta"}
    for name in ("documents", "bytes", "tokens"):
        assert found["total"][name] == sum(source[name] for source in found["sources"].values())
    for measured in [found["total"], *found["sources"].values()]:
        # Random weights are no better than a guess; the text is regular, so both baselines are well below 8.
        assert measured["bits_per_byte"] > measured["unigram_bits_per_byte"] > 1
        assert 1 < measured["zstd_bits_per_byte"] < 8
    facts = json.loads((scored / "artifact.json").read_bytes())["facts"]
    assert facts["came_in"] == "2 sources, 13 kB held out"
    assert facts["went_out"].startswith(f"{found['total']['bits_per_byte']:.3f} bits per byte (unigram 1.")


def test_samples_continue_every_prompt(scored: Path) -> None:
    lines = [json.loads(line) for line in (scored / "samples.jsonl").read_bytes().splitlines()]
    assert [line["prompt"] for line in lines] == ["The", "In the"]
    assert all(0 < len(line["ids"]) <= 64 - 2 for line in lines)


def test_scoring_again_elsewhere_gives_the_same_bytes(recipe: Path, scored: Path, tmp_path: Path) -> None:
    shutil.copytree(recipe.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluate*", ".evaluate*"))
    runs = tmp_path / "copy/runs"
    again = run_module("evaluation", "score", recipe, f"run.out={runs}")
    assert again.returncode == 0, again.stderr
    folder = Path(again.stdout.strip())
    assert folder == runs / scored.name
    assert list_files(folder) == list_files(scored)


def test_checking_a_recipe_needs_no_torch(recipe: Path) -> None:
    code = f"import sys; from evaluation.check import main; main([{str(recipe)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    refused = run_module("evaluation", "check", recipe, "evaluate.seq_len=1")
    assert refused.returncode == 64 and "evaluate.seq_len is 1" in refused.stderr


def test_documents_are_taken_in_order_until_the_limit(tmp_path: Path) -> None:
    (tmp_path / "heldout").mkdir()
    texts = ["a" * 60, "b" * 60, "c" * 10]
    documents = [Document(key=key_of(text), source="s", text=text, origin="0") for text in texts]
    write_documents(tmp_path / "heldout/s.jsonl", documents)

    def chosen(source_bytes: int) -> list[str]:
        found, count = choose_documents(tmp_path, source_bytes=source_bytes)["s"]
        assert count == 3
        return [document.text for document in found]

    assert chosen(1000) == texts
    assert chosen(119) == texts[:1]
    assert chosen(120) == texts[:2]
    assert chosen(1) == texts[:1]


def test_nothing_held_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "heldout").mkdir()
    with pytest.raises(DataError, match="no held-out documents"):
        choose_documents(tmp_path, source_bytes=10)


def test_bits_per_byte_by_hand() -> None:
    one = Scored(texts=["é".encode()], ids=[[7, 8]], nats=[0.6931471805599453 * 6], heldout_documents=4)
    two = Scored(texts=[b"ab", b"cd"], ids=[[7], [8]], nats=[0.0, 0.6931471805599453 * 3], heldout_documents=2)
    assert measures([one])["bits_per_byte"] == 3.0
    both = measures([one, two])
    assert math.isclose(both["bits_per_byte"], 9 / 6, rel_tol=1e-15)
    assert both["unigram_bits_per_byte"] == 4 / 6
    assert (both["bytes"], both["tokens"], both["documents"], both["heldout_documents"]) == (6, 4, 3, 6)
