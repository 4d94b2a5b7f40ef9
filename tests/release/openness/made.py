"""Facts of a release that has everything, to take away from."""

from collections.abc import Mapping
from dataclasses import replace

from release.openness.components import PARTS, Found, Status
from release.openness.facts import Facts, Source
from release.openness.words import CARD_SECTIONS, REPORT_SECTIONS, Words

LONG = "so many words that nobody can say that nothing was said about any of it here at all today"
WORDS = Words(sections=dict.fromkeys((*CARD_SECTIONS, *REPORT_SECTIONS), LONG))
TEXT = "---\nprovider: A. Person\npaper: 10.1/2\n---\n" + "".join(
    f"## {heading}\n{LONG}\n" for heading in (*CARD_SECTIONS, *REPORT_SECTIONS)
)


def there(licence: str = "Apache-2.0") -> Found:
    """A part that is there."""
    return Found(status=Status.PRESENT, paths=("file",), bytes=1, licence=licence, proof="seen")


def whole(changed: Mapping[str, Found] | None = None) -> Facts:
    """A release with every part under an open licence but for those that are given."""
    found = {part.key: there() for part in PARTS} | {"datasets": there("CC0-1.0"), "evaluation_data": there("CC0-1.0")}
    source = Source(
        name="books", locator="sha256:00", licence="CC0-1.0", language="en", kind="pypi", evidence=1, tokens=9
    )
    facts = Facts(name="made", licence="Apache-2.0", found=found | dict(changed or {}), words=WORDS, sources=[source])
    return replace(facts, parameters=10, tokens_trained=5, losses=[3.0, 2.0, 1.0], languages={"en": 9})
