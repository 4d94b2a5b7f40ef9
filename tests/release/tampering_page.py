"""Makes docs/tampering.md of the lists of forgeries: `python -m tests.release.tampering_page`."""

from core.codetree import ROOT
from release.ladder import LEVELS
from release.verify import CHECKS, VERIFIABLE
from tests.release.deep_forgeries import DEEP
from tests.release.forgeries import FORGERIES, UNSEEN, Forgery
from tests.release.merged_forgeries import MERGED

PAGE = ROOT / "docs/tampering.md"
HEAD = """# Which level catches which forgery

Made by `python -m tests.release.tampering_page` of the lists in `tests/release/forgeries.py`, `deep_forgeries.py` and
`merged_forgeries.py`; a test keeps it true, and each row is a test that makes the forgery and sees the named checks
fail. V1 stands in every row: with the right root, or the maker's key, no changed byte passes. All other columns are
about a maker who writes the manifest anew. V5 redoes everything, and V6 is another party's word.
"""
SIMPLE = """
## Forged, with a new manifest
The maker forgets something: a digest in the chain of artifacts, the ledger's head, the report.
"""
REFITTED = """
## Forged, and every digest, root, record and report made to fit
What only compares sees nothing here; what computes again does. V2 draws some of the scores, unless `--all` is given,
and V4 some of the segments besides the first, the last and those where a phase begins: what is not drawn passes.
"""
MADE_OF_WEIGHTS = """
## Forged, in a model that was merged and quantized
Everything is made to fit again. What no training made is made again as a whole at V3, from the weights it was made of,
if they are in the bundle or given; without them it is INCONCLUSIVE.
"""
LEFT = """
## What is left
| forgery | what catches it |
|---|---|
"""


def page() -> str:
    """The whole page."""
    left = "".join(f"| {name} | {catcher} |\n" for name, catcher in UNSEEN.items())
    return "".join(
        [HEAD, SIMPLE, _table(FORGERIES), REFITTED, _table(DEEP), MADE_OF_WEIGHTS, _table(MERGED), LEFT, left]
    )


def catching_levels(forgery: Forgery) -> set[str]:
    """The levels whose checks see through a forgery."""
    return {"V1"} | {check.level for check in CHECKS if check.name in forgery.caught_by.split()}


def _table(forgeries: list[Forgery]) -> str:
    levels = [name for name in LEVELS if name in VERIFIABLE]
    head = f"\n| forgery | {' | '.join(levels)} | checks |\n|---|{'---|' * len(levels)}---|\n"
    rows = []
    for forgery in forgeries:
        caught = catching_levels(forgery)
        marks = " | ".join("x" if level in caught else " " for level in levels)
        rows.append(f"| {forgery.name} | {marks} | {forgery.caught_by.replace(' ', ', ')} |\n")
    return head + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
