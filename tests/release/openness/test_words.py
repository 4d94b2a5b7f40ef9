from pathlib import Path

import pytest

from core.errors import ConfigError
from release.openness.words import CARD_SECTIONS, parse_words, read_words
from tests.release.openness.made import LONG, TEXT


def test_sections_and_declared_facts_are_read() -> None:
    words = parse_words(TEXT)
    assert words.declared == {"provider": "A. Person", "paper": "10.1/2"}
    assert words.missing(CARD_SECTIONS) == []
    assert words.sections["Intended use"] == LONG


def test_a_short_section_does_not_count() -> None:
    assert parse_words("## Intended use\nAny.\n").missing(CARD_SECTIONS) == list(CARD_SECTIONS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("## Intendet use\nx", "no card has a section 'Intendet use'"),
        ("---\nprovidr: x\n---\n", "nothing takes 'providr'"),
        ("---\nprovider: x\n", "no second '---' line"),
        ("---\n- x\n---\n", "nothing takes"),
        ("---\na: [\n---\n", "cannot be read"),
        ("---\nprovider: [a, b]\n---\n", "provider is no single value"),
        ("---\nprovider: " + "[" * 5000 + "\n---\n", "cannot be read"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "words.md").write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_words(tmp_path / "words.md")
    assert str(tmp_path / "words.md") in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_words(tmp_path / "none.md")
