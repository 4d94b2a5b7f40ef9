import pytest

from core.errors import DataError
from release.openness.licences import conditions, families, family, is_open, is_readable, licences, suits


@pytest.mark.parametrize(
    ("licence", "wanted"),
    [
        ("Apache-2.0", "osi"),
        ("apache-2.0", "osi"),
        ("OpenMDW-1.0", "osi"),
        ("CC-BY-SA-4.0", "open-data"),
        ("LicenseRef-Public-Domain", "public-domain"),
        ("bigscience-bloom-rail-1.0", "rail"),
        ("LicenseRef-OpenRAIL-M", "rail"),
        ("llama3.1", "custom"),
        ("CC-BY-NC-4.0", "restricted"),
        ("cc-by-nd-4.0", "restricted"),
        ("other", "custom"),
        ("LicenseRef-Mother", "unknown"),
        ("", "none"),
        ("NOASSERTION", "none"),
        ("Something-1.0", "unknown"),
    ],
)
def test_a_licence_has_its_family(licence: str, wanted: str) -> None:
    assert family(licence) == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("MIT", True),
        ("MIT AND CC0-1.0", True),
        ("MIT AND LicenseRef-Mine", False),
        ("MIT OR LicenseRef-Mine", True),
        ("(MIT OR LicenseRef-Mine) AND CC-BY-NC-4.0", False),
        ("LicenseRef-Mine OR MIT AND CC0-1.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH Commons-Clause", False),
        ("CC-BY-NC-4.0", False),
        ("OpenRAIL-M", False),
        ("", False),
        ("Apache License, version 2", False),
    ],
)
def test_an_expression_is_open_if_what_must_hold_is(expression: str, wanted: bool) -> None:
    assert is_open(expression) is wanted


@pytest.mark.parametrize(
    "expression", ["MIT AND", "(MIT", "MIT)", "AND MIT", "MIT CC0-1.0", "a licence of my own", "()"]
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    assert not is_readable(expression)
    assert families(expression) == ["unknown"]
    with pytest.raises(DataError, match="is no licence expression"):
        licences(expression)


def test_licences_suit_the_content_that_they_were_made_for() -> None:
    assert suits("Apache-2.0", "code") and suits("Apache-2.0", "document") and not suits("Apache-2.0", "data")
    assert all(suits("OpenMDW-1.0", content) for content in ("code", "data", "document"))


def test_conditions_that_reach_what_is_derived() -> None:
    assert conditions("CC-BY-NC-SA-4.0") == ["non-commercial", "share-alike"]
    assert conditions("CC-BY-ND-4.0") == ["no-derivatives"]
    assert conditions("llama3") == ["use-restricted"]
    assert conditions("MIT") == conditions("CC-BY-4.0") == []
