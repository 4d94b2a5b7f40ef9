"""Licences: expressions read, sorted into families, and what each leaves free.

Families: `osi` (OSI-approved or called free by the FSF), `open-data` (the list of the Model Openness Framework's tool),
`public-domain` (no licence needed where it holds; that tool has no entry for it), `rail` (restricted in use),
`restricted` (non-commercial or without derivatives), `custom` (terms of one provider), `none` (nothing stated) and
`unknown`. The table is licences.yaml; LicenseRef- stands for what SPDX lacks. An unknown licence never counts as open.
Nothing here is legal advice.
"""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from core.errors import DataError

TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_bytes())
OSI, FSF, OPEN_DATA, FOR_MODELS, PUBLIC_DOMAIN = (
    frozenset(TABLE[name].split()) for name in ("osi", "fsf", "open-data", "for-models", "public-domain")
)
SUITS = {content: frozenset(names.split()) for content, names in TABLE["suits"].items()}

RAIL = re.compile(r"(?:open)?rail|rail-", re.IGNORECASE)
CUSTOM = re.compile(r"(?:llama|gemma|falcon|qwen|deepseek|nvidia|jamba|grok|health-ai|exaone)|^other$", re.IGNORECASE)
NON_COMMERCIAL = re.compile(r"(?:^|-)(?:NC|research|noncommercial)(?:-|$)", re.IGNORECASE)
NO_DERIVATIVES = re.compile(r"(?:^|-)ND(?:-|$)", re.IGNORECASE)
SHARE_ALIKE = re.compile(r"(?:^|-)SA(?:-|$)|^(?:A|L)?GPL|^GFDL|^ODbL|^CDLA-Sharing|^EUPL|^OSL", re.IGNORECASE)
NOTHING = ("", "NONE", "NOASSERTION", "unlicensed")
TOKENS = re.compile(r"\s*([()]|[^\s()]+)")
IDENTIFIER = re.compile(r"[A-Za-z0-9.+:-]+")
KNOWN: dict[str, str] = {
    name.lower(): name for names in (OSI, FSF, OPEN_DATA, FOR_MODELS, PUBLIC_DOMAIN, *SUITS.values()) for name in names
}

Judge = Callable[[str], bool]


def family(licence: str) -> str:
    """The family of one licence's identifier."""
    name = canonical(licence)
    if name in NOTHING:
        return "none"
    if name in OPEN_DATA:
        return "open-data"
    if name in PUBLIC_DOMAIN:
        return "public-domain"
    if name in OSI | FSF | FOR_MODELS:
        return "osi"
    if RAIL.search(name):
        return "rail"
    if NON_COMMERCIAL.search(name) or NO_DERIVATIVES.search(name):
        return "restricted"
    return "custom" if CUSTOM.search(name) else "unknown"


def canonical(licence: str) -> str:
    """An identifier as SPDX writes it, if it is known by it: Hugging Face writes lower case."""
    return KNOWN.get(licence.strip().lower(), licence.strip())


def is_open(expression: str) -> bool:
    """Whether an expression gives everyone the freedoms: every licence of an AND, one of an OR.

    What is no expression but some licence's name in words does not count.
    """
    return is_readable(expression) and _fold(expression, is_open_licence)


def is_open_licence(licence: str) -> bool:
    """Whether one licence is open, as the Model Openness Framework's tool counts."""
    return family(licence) in ("osi", "open-data", "public-domain")


def suits(expression: str, content: str) -> bool:
    """Whether the licence is made for this kind of content: `code`, `data` or `document`."""
    return is_readable(expression) and _fold(expression, lambda licence: canonical(licence) in SUITS[content])


def families(expression: str) -> list[str]:
    """The families of all licences of an expression, sorted."""
    if not is_readable(expression):
        return ["unknown"]
    return sorted({family(licence) for licence in licences(expression)}) or ["none"]


def is_readable(expression: str) -> bool:
    """Whether it is a licence expression, or nothing at all."""
    try:
        licences(expression)
    except DataError:
        return False
    return True


def licences(expression: str) -> list[str]:
    """The licences that an expression names, sorted. Raises DataError if it is no expression."""
    found: list[str] = []

    def note(licence: str) -> bool:
        found.append(canonical(licence))
        return True

    _fold(expression, note)
    return sorted(set(found))


def conditions(licence: str) -> list[str]:
    """What a licence asks or forbids that matters to what is derived; empty for the permissive ones."""
    name = canonical(licence)
    said = [
        ("use-restricted", family(name) in ("rail", "custom")),
        ("non-commercial", bool(NON_COMMERCIAL.search(name))),
        ("no-derivatives", bool(NO_DERIVATIVES.search(name))),
        ("share-alike", bool(SHARE_ALIKE.search(name))),
        ("unstated", family(name) in ("none", "unknown")),
    ]
    return [condition for condition, holds in said if holds]


def _fold(expression: str, judge: Judge) -> bool:
    """Judge every licence of an expression; AND binds more tightly than OR, as SPDX has it."""
    if expression.strip() in NOTHING:
        return False
    tokens = TOKENS.findall(expression)
    value = _either(tokens, judge)
    if tokens:
        raise _error(expression)
    return value


def _either(tokens: list[str], judge: Judge) -> bool:
    value = _all(tokens, judge)
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        value |= _all(tokens, judge)
    return value


def _all(tokens: list[str], judge: Judge) -> bool:
    value = _one(tokens, judge)
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        value &= _one(tokens, judge)
    return value


def _one(tokens: list[str], judge: Judge) -> bool:
    token = tokens.pop(0) if tokens else ""
    if token == "(":
        value = _either(tokens, judge)
        if tokens[:1] != [")"]:
            raise _error(" ".join([token, *tokens]))
        tokens.pop(0)
        return value
    if not IDENTIFIER.fullmatch(token) or token in ("AND", "OR", "WITH"):
        raise _error(token)
    if tokens[:1] != ["WITH"]:
        return judge(token)
    # SPDX's exceptions only ever give more; what else is added, such as Commons-Clause, may take away.
    exception = "".join(tokens[1:2])
    del tokens[:2]
    return judge(token) and "exception" in exception.lower()


def _error(expression: str) -> DataError:
    return DataError(f"{expression!r} is no licence expression; write SPDX identifiers with AND, OR and WITH")
