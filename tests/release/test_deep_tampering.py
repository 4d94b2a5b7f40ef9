"""The second half of the tamper campaign: forgeries that fit in every digest, against the checks that compute again.

Each is shown to pass all checks that only compare, and to fail in those that the table names. docs/tampering.md is
made of the same lists, and a test keeps it so.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from core.codetree import ROOT
from release.contents import Bundle, open_bundle
from release.verdict import Verdict
from release.verify import CHECKS, judge
from tests.release.deep_forgeries import DEEP, QUICK
from tests.release.forgeries import FORGERIES, UNSEEN, Forgery
from tests.release.merged_forgeries import MERGED
from tests.release.tampering_page import PAGE, catching_levels, page
from tests.release.test_tampering import ALL, failed

NAMED = {check.name: check for check in CHECKS}


def judged(folder: Path, scratch: Path, name: str) -> tuple[Verdict, str]:
    bundle = open_bundle(folder)
    bundle.is_whole, bundle.code, bundle.scratch = True, ROOT, scratch
    finding = judge(NAMED[name], bundle)
    return finding.verdict, finding.detail


@pytest.mark.parametrize(
    "forgery",
    [pytest.param(one, id=one.name, marks=() if one.name in QUICK else pytest.mark.slow) for one in DEEP],
)
def test_a_forgery_that_fits_everywhere_is_caught_by_what_is_computed_again(
    bundle: Bundle, tmp_path: Path, forgery: Forgery
) -> None:
    forgery.do(bundle.folder)
    assert failed(bundle.folder, tmp_path) <= {"witness"}
    for name in forgery.caught_by.split():
        verdict, detail = judged(bundle.folder, tmp_path, name)
        assert verdict is Verdict.FAIL, (name, detail)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward", "scores", "losses", "audit", "rates", "data", "corpus"])
def test_the_honest_bundle_passes_what_is_computed_again(bundle: Bundle, tmp_path: Path, name: str) -> None:
    verdict, detail = judged(bundle.folder, tmp_path, name)
    assert verdict is Verdict.PASS, detail


def test_every_check_of_the_ladder_is_there_because_of_a_forgery() -> None:
    caught = {name for forgery in (*FORGERIES, *DEEP, *MERGED) for name in forgery.caught_by.split()}
    # The signature has its own tests (test_tampering.py, signing/); of the corpus those of test_checks.py.
    assert caught | {"integrity", "signature", "corpus"} == NAMED.keys()
    assert NAMED.keys() > ALL


def test_the_table_of_which_level_catches_which_is_what_the_tests_try() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.release.tampering_page"


def test_the_table_would_change_with_the_lists() -> None:
    assert catching_levels(DEEP[0]) == {"V1", "V2"}
    assert catching_levels(replace(DEEP[0], caught_by="audit")) == {"V1", "V4"}
    assert all(f"| {name} |" in page() for name in UNSEEN)
