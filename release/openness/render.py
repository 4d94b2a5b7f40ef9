"""The folder `report/` of a bundle: made from the rest of it, and held against that by a verifier."""

import json
from collections.abc import Mapping

from core.codetree import ROOT
from core.errors import ConfigError, DataError
from core.hashing import canonical_json
from release.code import is_checkout_of, read_tree
from release.contents import Bundle
from release.cost import COST, stated
from release.documents import REPRODUCE, VERIFY, readme
from release.lineage import LINEAGE
from release.openness.cards import framework_file, model_card, technical_report
from release.openness.facts import WORDS_PATH
from release.openness.page import page
from release.openness.report import Report, compose, to_markdown
from release.openness.verb import facts_of, words_of
from release.stage import first_value
from release.verdict import InconclusiveError

FOLDER = "report"
REPORT = f"{FOLDER}/openness.json"
# What a reader acts on; the rest is how it is said.
GRADES = ("verdict", "place", "mof", "osaid", "restricted_in_use", "inherited", "conflicts")


def render(bundle: Bundle) -> dict[str, bytes]:
    """Every made file of the folder, by its path in the bundle."""
    facts = facts_of(bundle)
    report = compose(facts)
    return {
        REPORT: json.dumps(report, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n",
        f"{FOLDER}/openness.md": to_markdown(report).encode(),
        f"{FOLDER}/model_card.md": model_card(facts, report).encode(),
        f"{FOLDER}/technical_report.md": technical_report(facts, report).encode(),
        f"{FOLDER}/mof.yml": framework_file(facts, report),
        f"{FOLDER}/index.html": page(facts, report).encode(),
    }


def scripts(bundle: Bundle) -> dict[str, bytes]:
    """The made files at the top of a bundle: what people read or start, and what it cost."""
    facts = {stage: artifact["facts"] for stage, artifact in bundle.artifacts.items()}
    index = bundle.read_list("data/sources.json")
    licences = {source["name"]: source["license"] for source in index}
    page = readme(bundle.record, facts=facts, sources=licences, lineage=bundle.read_json(LINEAGE))
    cost = canonical_json(stated(bundle, words_of(bundle))) + b"\n"
    return {COST: cost, "README.md": page.encode(), "verify.sh": VERIFY.encode(), "reproduce.sh": REPRODUCE.encode()}


def is_fresh(bundle: Bundle) -> str:
    """The report is what follows from the rest of the bundle.

    It is made again by the code that is running, so that a bundle's own code cannot vouch for its own grade. If that is
    the code of the bundle, every byte must be equal; if not, only the grades can be compared. Raises DataError if a
    file differs, InconclusiveError if other code grades otherwise.
    """
    if is_checkout_of(ROOT, read_tree(bundle.folder / "code")):
        return is_same(bundle)
    return is_graded_alike(bundle)


def is_same(bundle: Bundle) -> str:
    """Every byte of report, README and scripts is what this code makes. Raises DataError naming the first file."""
    _compare_bytes(bundle, _make_again(bundle) | scripts(bundle))
    return f"{FOLDER}/, {COST}, README.md and the scripts follow from the rest, byte for byte"


def is_graded_alike(bundle: Bundle) -> str:
    """The report's grades are those that this code comes to. Raises InconclusiveError if they are not."""
    ours, theirs = json.loads(_make_again(bundle)[REPORT]), bundle.read_json(REPORT)
    difference = first_value(_grades(theirs), _grades(ours))
    if difference:
        raise InconclusiveError(
            f"graded by other code than this checkout's, which comes to another grade: {difference}; run the bundle's "
            "own verify.sh to hold the report against the code that made it"
        )
    return "the grades are those that this checkout comes to; it is other code, so the wording was not compared"


def _make_again(bundle: Bundle) -> dict[str, bytes]:
    try:
        return render(bundle)
    except ConfigError as error:
        raise DataError(str(error)) from error


def _compare_bytes(bundle: Bundle, made: Mapping[str, bytes]) -> None:
    for name, content in made.items():
        path = bundle.folder / name
        if not path.is_file():
            raise DataError(f"{name} is missing; the report of a bundle is always there")
        if path.read_bytes() != content:
            raise DataError(f"{name} is not what follows from the rest of the bundle: stale or edited")
    present = {path.relative_to(bundle.folder).as_posix() for path in (bundle.folder / FOLDER).rglob("*")}
    strange = sorted(present - made.keys() - {WORDS_PATH})
    if strange:
        raise DataError(f"{strange[0]} is no part of the report; remove it")


def _grades(report: Report) -> Report:
    return {name: report[name] for name in GRADES} | {
        "components": {row["key"]: [row["status"], row["licence"]] for row in report["components"]}
    }
