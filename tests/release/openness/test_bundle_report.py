"""The report in a bundle: what each part rests on, its author's words, and that it is never stale."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.contents import Bundle
from release.openness.components import Status
from release.openness.evidence import in_bundle
from release.openness.facts import WORDS_PATH
from release.openness.page import MAX_POINTS, curve
from release.openness.render import is_graded_alike, is_same, render
from release.openness.verb import was_replayed
from release.openness.words import Words
from release.signing.attestations import write_verification
from release.signing.keys import generate, read_private
from release.signing.statements import verification_statement
from release.verdict import Finding, InconclusiveError, Verdict
from tests.release.forgery import edit_json, flip_bit
from tests.release.openness.made import TEXT, WORDS


def statuses(bundle: Bundle, words: Words = WORDS) -> dict[str, Status]:
    return {key: found.status for key, found in in_bundle(bundle, words).items()}


def test_all_parts_of_a_bundle_are_found_but_those_that_nobody_made(bundle: Bundle) -> None:
    found = statuses(bundle)
    assert {key for key, status in found.items() if status is not Status.PRESENT} == {
        "paper",
        "decontamination",
    }
    assert {key for key, status in statuses(bundle, Words()).items() if status is not Status.PRESENT} == {
        *("paper", "decontamination", "model_card", "report")
    }


@pytest.mark.parametrize(
    ("path", "broken"),
    [
        (
            "code/tree.json",
            {"architecture", "training_code", "inference_code", "evaluation_code", "preprocessing_code"},
        ),
        ("weights/final/config.json", {"architecture", "final"}),
        ("data/manifest.json", {"datasets", "evaluation_data", "decontamination"}),
        ("checkpoints/step-000004/state.json", {"intermediate"}),
    ],
)
def test_a_part_that_cannot_be_read_is_broken_and_does_not_count(bundle: Bundle, path: str, broken: set[str]) -> None:
    (bundle.folder / path).write_text("{")
    assert {key for key, status in statuses(bundle).items() if status is Status.BROKEN} == broken


def test_code_that_did_not_run_and_weights_of_another_shape_are_broken(bundle: Bundle) -> None:
    edit_json(bundle.folder / "artifacts/train.json", code="0" * 64)
    edit_json(bundle.folder / "weights/final/config.json", hidden_size=64)
    found = in_bundle(bundle, WORDS)
    assert found["training_code"].note == "DataError: the code in the bundle is not what stage train ran"
    assert "has shape" in found["final"].note


def test_an_empty_or_removed_part_is_missing(bundle: Bundle) -> None:
    (bundle.folder / "eval/samples.jsonl").write_bytes(b"")
    (bundle.folder / "logs/ledger.jsonl").rename(bundle.folder / "logs/x")
    found = statuses(bundle)
    assert found["samples"] is found["log"] is Status.MISSING


def test_the_report_is_made_again_byte_for_byte(bundle: Bundle) -> None:
    assert {name: (bundle.folder / name).read_bytes() for name in render(bundle)} == render(bundle)


@pytest.mark.parametrize("name", ["openness.json", "openness.md", "index.html", "model_card.md", "mof.yml"])
def test_an_edited_report_fails(bundle: Bundle, name: str) -> None:
    assert "byte for byte" in is_same(bundle)
    flip_bit(bundle.folder / "report" / name)
    with pytest.raises(DataError, match=rf"report/{name} is not what follows"):
        is_same(bundle)


def test_a_stale_or_padded_report_fails(bundle: Bundle) -> None:
    (bundle.folder / "report/badge.svg").write_text("<svg/>")
    with pytest.raises(DataError, match=r"report/badge\.svg is no part of the report"):
        is_same(bundle)
    (bundle.folder / "report/badge.svg").unlink()
    edit_json(bundle.folder / "bundle.json", license="CC-BY-NC-4.0")
    del bundle.record
    with pytest.raises(DataError, match="is not what follows"):
        is_same(bundle)


def test_other_code_compares_the_grades_and_cannot_say_more(bundle: Bundle) -> None:
    flip_bit(bundle.folder / "report/index.html")
    assert "the wording was not compared" in is_graded_alike(bundle)
    report = bundle.read_json("report/openness.json")
    edit_json(bundle.folder / "report/openness.json", mof={**report["mof"], "class": 1})
    with pytest.raises(InconclusiveError, match=r"mof\.class: 1 against 0"):
        is_graded_alike(bundle)


def test_an_authors_words_complete_the_cards_and_template_text_says_what_it_is(bundle: Bundle) -> None:
    card = (bundle.folder / "report/model_card.md").read_text()
    assert card.count("*Template text, not its author's:*") == 3
    (bundle.folder / WORDS_PATH).write_text(TEXT)
    made = render(bundle)
    assert b"Template text" not in made["report/model_card.md"] + made["report/technical_report.md"]
    assert "## ✎ Intended use\nso many words" in made["report/model_card.md"].decode()
    report = json.loads(made["report/openness.json"])
    assert report["mof"]["label"] == "Class II (Open Tooling)"
    assert report["place"]["next_step"] == "Research paper"
    (bundle.folder / WORDS_PATH).write_text(TEXT.replace("paper:", "paper_license: CC-BY-4.0\npaper:"))
    report = json.loads(render(bundle)["report/openness.json"])
    assert report["mof"]["label"] == "Class I (Open Science)"
    assert report["place"]["next_step"].startswith("the licence of alpha, beta rests on no paper")


def test_words_that_claim_too_much_stop_the_release_and_fail_its_verification(bundle: Bundle) -> None:
    (bundle.folder / WORDS_PATH).write_text(TEXT + "\n## Data\nAn open source model.\n")
    with pytest.raises(ConfigError, match="call tiny open source, but"):
        render(bundle)
    with pytest.raises(DataError, match="call tiny open source, but"):
        is_same(bundle)


def test_a_trusted_verifiers_word_lifts_a_release_and_nobody_elses(bundle: Bundle, tmp_path: Path) -> None:
    public = generate(tmp_path / "key")
    found = [Finding(check="audit", verdict=Verdict.PASS, detail="replayed")]
    payload = verification_statement(bundle, found, level="V4", verifier={"name": "x"}, made="2026-01-02")
    write_verification(bundle, payload, read_private(tmp_path / "key"), level="V4")
    assert was_replayed(bundle, [public])
    assert not was_replayed(bundle, [generate(tmp_path / "other")])
    assert not was_replayed(bundle, [])


class Page(HTMLParser):
    """What a page would load, and its table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what is loaded, and what is opened."""
        self.loads += [str(value) for name, value in attributes if name in ("src", "href", "srcset", "data", "style")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """What closes itself."""

    def handle_endtag(self, tag: str) -> None:
        """Every element that is opened is closed."""
        assert self.open.pop() == tag


def test_the_page_is_one_sound_file_that_loads_nothing(bundle: Bundle) -> None:
    text = (bundle.folder / "report/index.html").read_text()
    page = Page()
    page.feed(text)
    assert page.loads == page.open == []
    assert not re.search(r"<script|@import|url\(|https?:", text)
    for said in (*bundle.artifacts, "open weights", bundle.record["trajectory_head"], "alpha", "Model architecture"):
        assert said in text


def test_names_from_outside_are_escaped(bundle: Bundle) -> None:
    edit_json(bundle.folder / "bundle.json", name="<script>alert(1)</script>")
    page = render(bundle)["report/index.html"].decode()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = re.search(r'points="([^"]*)"', curve([float(value) for value in range(10_000)]))
    assert points
    drawn = points[1].split()
    assert len(drawn) == MAX_POINTS
    assert (drawn[0], drawn[-1]) == ("60.0,226.0", "710.0,10.0")
    assert "fewer than two steps" in curve([1.0])
