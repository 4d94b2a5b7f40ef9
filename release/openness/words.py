"""The author's own words about a release: a Markdown file that the author keeps, merged into cards and report.

Form: a YAML head between two `---` lines with declared facts, then `## Heading` sections. What is declared is shown as
declared; a section that is missing or short leaves its place in the cards to template text that says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from core.errors import ConfigError

# Sections that a card needs from its author, and the fewest words that count as having said something.
CARD_SECTIONS = ("Intended use", "Out of scope", "Bias, risks and limits")
REPORT_SECTIONS = ("Design choices", "Findings")
SECTIONS = (*CARD_SECTIONS, *REPORT_SECTIONS, "Data", "Evaluation", "Acknowledgements")
MIN_WORDS = 15
DECLARED = {
    "provider": "name of the provider, and how to reach it",
    "representative": "authorised representative in the European Union",
    "released": "date of release",
    "distribution": "where and how it is distributed",
    "paper": "DOI or address of a research paper",
    "paper_license": "licence of that paper",
    "acceptable_use": "acceptable use policy",
    "text_and_data_mining": "how opt-outs from text and data mining were respected",
    "code_of_practice": "whether the provider signed the code of practice for general-purpose AI",
    "illegal_content": "measures against illegal content in the training data",
    "personal_data": "what was done about personal data",
    "energy_kwh": "energy used by all training, with its source",
    "hardware": "devices that trained, and how long",
    "cost": "money spent",
    "device_watts": "power of one device (a core, a GPU) in watts, with its source",
    "peak_flops": "peak of one device in operations a second, with its source",
    "price_per_device_hour": "price of one device for an hour, with its currency",
    "changes": "what changed since the version before",
}
CLAIM = re.compile(r"open[\s-]+source", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the author wrote: sections by heading, and declared facts by name."""

    sections: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)

    def says(self, heading: str) -> bool:
        """Whether a section is there and long enough to count."""
        return len(self.sections.get(heading, "").split()) >= MIN_WORDS

    def missing(self, headings: tuple[str, ...]) -> list[str]:
        """Those of the headings under which nothing that counts was written."""
        return [heading for heading in headings if not self.says(heading)]

    @property
    def claims_open_source(self) -> bool:
        """Whether the author calls the release open source."""
        return any(CLAIM.search(text) for text in (*self.sections.values(), *self.declared.values()))


def read_words(path: Path) -> Words:
    """Read an author's file. Raises ConfigError if it cannot be read, or has a heading or a fact that no card takes."""
    try:
        return parse_words(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; write a YAML head and '## ' sections") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_words(text: str) -> Words:
    """The words of an author's file."""
    head, body = _split(text)
    declared = yaml.safe_load(head) or {}
    if not isinstance(declared, dict) or (strange := sorted(set(declared) - DECLARED.keys())):
        named = strange[0] if isinstance(declared, dict) else declared
        raise ConfigError(f"nothing takes {named!r}; the head may hold {', '.join(DECLARED)}")
    nested = next((name for name, value in declared.items() if isinstance(value, dict | list)), "")
    if nested:
        raise ConfigError(f"{nested} is no single value; write one line of text")
    parts = re.split(r"^## +(.+?)\s*$", body, flags=re.MULTILINE)
    sections = {heading: said.strip() for heading, said in zip(parts[1::2], parts[2::2], strict=True)}
    unknown = next((heading for heading in sections if heading not in SECTIONS), "")
    if unknown:
        raise ConfigError(f"no card has a section {unknown!r}; there are {', '.join(SECTIONS)}")
    return Words(sections=sections, declared={name: str(value).strip() for name, value in declared.items()})


def _split(text: str) -> tuple[str, str]:
    if not text.startswith("---\n"):
        return "", text
    head, mark, body = text[4:].partition("\n---\n")
    if not mark:
        raise ConfigError("the head has no second '---' line; end it with one")
    return head, body
