"""Every number of a manifest that is changed breaks an equation, and the equation is named."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.corpus.accounts import check_accounts
from data.corpus.manifest import read_manifest
from tests.data.corpora import folder_of

Manifest = dict[str, Any]


def alpha(manifest: Manifest) -> Any:
    return manifest["cleaning"]["sources"]["alpha"]


def fed(manifest: Manifest) -> Any:
    return manifest["tokenizer"]["training"]["fed"]["alpha"]


LIES: dict[str, tuple[Callable[[Manifest], Any], str, str]] = {
    "a document that came in": (lambda m: alpha(m)["in"], "documents", "documents of alpha came in"),
    "a byte that went out": (lambda m: alpha(m)["train"], "bytes", "bytes of alpha came in"),
    "a byte that was edited away": (alpha, "edited_away_bytes", "bytes of alpha came in"),
    "a document that came to a step": (lambda m: alpha(m)["steps"]["exact"]["in"], "documents", "came to step exact"),
    "a byte that left a step": (lambda m: alpha(m)["steps"]["judge"]["out"], "bytes", "came to step exact"),
    "a drop of a step": (lambda m: alpha(m)["steps"]["exact"]["dropped"], "duplicate", "came into step exact"),
    "what left the last step": (lambda m: alpha(m)["steps"]["decontaminate"]["out"], "bytes", "the steps let"),
    "a drop without a reason": (lambda m: alpha(m)["dropped"]["reasons"], "duplicate", "with a reason"),
    "a total": (lambda m: m["cleaning"]["total"]["heldout"], "documents", "the total says"),
    "a document that the tokenizer was fed": (fed, "documents", "tokenizer: fed"),
    "a byte that the tokenizer lost": (fed, "newline_bytes", "are accounted for"),
    "a token of a shard": (lambda m: m["shards"][0], "tokens", "the shards of alpha hold"),
    "a window": (lambda m: m["order"]["sources"][0], "windows", "windows and unused tokens make"),
    "a document of the order": (lambda m: m["order"]["sources"][0], "documents", "pack: "),
    "the list of stages": (lambda m: m["stages"][1]["in"], "documents", "in the list of stages"),
}


@pytest.fixture(scope="module")
def manifest(made_corpus: Path) -> Manifest:
    return read_manifest(folder_of(made_corpus, "manifest") / "manifest.json")


def test_the_numbers_of_an_honest_manifest_agree(manifest: Manifest) -> None:
    assert list(check_accounts(manifest)) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_number_that_is_off_by_one_is_named(manifest: Manifest, lie: str) -> None:
    changed = copy.deepcopy(manifest)
    holder, name, said = LIES[lie]
    holder(changed)[name] += 1
    assert any(said in flaw for flaw in check_accounts(changed)), list(check_accounts(changed))
