"""OSAID, the place on the spectrum, inherited conditions, and the sentence that says it all."""

from dataclasses import replace

import pytest

from core.errors import ConfigError
from release.openness import lineage, mof, osai_index, osaid, spectrum
from release.openness.components import BY_KEY, MISSING, Found, Status
from release.openness.facts import Facts, Parent
from release.openness.osaid import Osaid
from release.openness.report import compose, to_markdown
from release.openness.words import Words
from tests.release.openness.made import LONG, WORDS, there, whole


def place_of(facts: Facts, *, is_replayed: bool = False) -> str:
    licences = {BY_KEY[key].name: found.licence for key, found in facts.found.items() if found.is_there}
    judged = osaid.judge(facts)
    return spectrum.place(facts, mof.grade(licences), judged, is_replayed=is_replayed).name


def test_a_whole_release_meets_the_definition() -> None:
    assert osaid.judge(whole()).verdict is Osaid.MEETS


@pytest.mark.parametrize("key", [*osaid.CODE, *osaid.MODEL])
def test_without_code_or_model_the_definition_fails_and_the_gap_is_named(key: str) -> None:
    for found in (MISSING, Found(status=Status.BROKEN), there("CC-BY-NC-4.0"), there("")):
        judged = osaid.judge(whole({key: found}))
        assert judged.verdict is Osaid.FAILS
        assert judged.gaps[0].startswith(BY_KEY[key].name.lower())


def test_data_that_is_only_described_is_for_people_to_judge() -> None:
    closed = {"datasets": MISSING}
    assert osaid.judge(whole(closed)).verdict is Osaid.NEEDS_HUMAN
    undescribed = closed | dict.fromkeys(osaid.DESCRIPTIONS, MISSING)
    assert osaid.judge(whole(undescribed)).verdict is Osaid.FAILS


def test_a_licence_without_evidence_is_for_people_to_judge() -> None:
    facts = whole()
    unproven = replace(facts, sources=[replace(facts.sources[0], evidence=0)])
    judged = osaid.judge(unproven)
    assert judged.verdict is Osaid.NEEDS_HUMAN
    assert "the licence of books rests on no paper" in judged.gaps[0]


def test_every_place_of_the_spectrum_is_reached_and_no_other() -> None:
    without_report = {"report": MISSING, "paper": MISSING}
    places = [
        place_of(whole({"final": MISSING})),
        place_of(whole({"final": there("llama3")})),
        place_of(whole(without_report)),
        place_of(whole({"training_code": MISSING})),
        place_of(whole({"intermediate": MISSING})),
        place_of(whole(), is_replayed=True),
    ]
    assert places == list(spectrum.PLACES)


def test_no_page_can_vouch_for_a_replay_and_none_makes_up_for_a_gap() -> None:
    assert place_of(whole()) == "open tooling"
    assert place_of(whole({"libraries": MISSING}), is_replayed=True) == "open tooling"


def test_the_name_that_the_osi_defines_stands_only_where_it_is_met() -> None:
    short = Words(sections=WORDS.sections)
    lacking = [
        replace(whole({"training_code": MISSING}), words=short),
        replace(whole({"datasets": MISSING}), words=short),
        replace(whole({"final": there("llama3")}), words=short),
    ]
    for facts in lacking:
        assert "open source" not in to_markdown(compose(facts)).lower()
    assert "OSAID meets: open source AI" in to_markdown(compose(whole()))


def test_an_author_may_not_claim_what_is_not_met() -> None:
    words = Words(sections={**WORDS.sections, "Findings": f"An open-source model. {LONG}"})
    compose(replace(whole(), words=words))
    with pytest.raises(ConfigError, match="but by the OSI's definition it fails: training code missing"):
        compose(replace(whole({"training_code": MISSING}), words=words))


def test_a_stricter_condition_of_a_parent_or_a_source_is_a_conflict() -> None:
    facts = whole()
    made_from = replace(
        facts,
        parents=[Parent(name="base", licence="llama3", relation="continued")],
        sources=[replace(facts.sources[0], licence="CC-BY-NC-SA-4.0")],
    )
    assert list(lineage.inherited(made_from)) == ["non-commercial", "use-restricted", "share-alike"]
    assert (
        lineage.conflicts(made_from)[1] == "use-restricted: asked by parent base (llama3), not carried on by Apache-2.0"
    )
    assert lineage.conflicts(whole()) == []


def test_a_condition_that_is_carried_on_is_no_conflict() -> None:
    parent = Parent(name="base", licence="llama3", relation="continued")
    assert lineage.conflicts(replace(whole({"final": there("llama3")}), parents=[parent])) == []


def test_restrictions_have_their_letters() -> None:
    assert lineage.restricted(whole()) == "none"
    assert lineage.restricted(whole({"final": there("OpenRAIL-M"), "datasets": there("OpenRAIL-D")})) == "DM"


def test_the_european_index_has_14_parameters_and_tells_open_from_closed() -> None:
    assert len(osai_index.parameters(whole())) == 14
    assert osai_index.parameters(whole())["base data"] == "open"
    poor = whole({"datasets": MISSING, "final": there("llama3")})
    assert osai_index.parameters(poor)["base data"] == "closed"
    assert osai_index.parameters(poor)["base weights"] == osai_index.parameters(poor)["licences"] == "partial"


def test_forms_say_what_is_computed_declared_and_left_open() -> None:
    words = Words(sections=WORDS.sections, declared={"provider": "A. Person"})
    report = compose(replace(whole(), words=words))
    rows = {row["title"]: (row["value"], row["how"]) for row in report["eu_training_summary"]["fields"]}
    assert rows["size of text"] == ("less than 1 billion tokens: 9 tokens", "computed")
    assert rows["provider"] == ("A. Person", "declared")
    assert rows["code of practice"] == ("", "open")
    rows = {row["title"]: (row["value"], row["how"]) for row in report["eu_annex_xi"]["fields"]}
    assert rows["compute"] == ("300 FLOP: 6 x parameters x tokens", "computed")
    assert rows["energy"] == ("", "open")
