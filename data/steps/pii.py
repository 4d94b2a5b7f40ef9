"""Masks personal data that has a checkable form: e-mail, IBAN, payment card, IP address and phone number.

Every find of a kind becomes the same placeholder, so that neither order nor sharding can change a byte. Those for
e-mail, phone and IP are Dolma's (Soldaini et al. 2024, arXiv:2402.00159). A mask is only as good as its form: names and
street addresses are not looked for.

In this order, a placeholder being left alone by what follows:
email  local part, `@`, domain with a top-level domain; not in the reserved domains of RFC 2606
iban   ISO 13616: country and its length, checked modulo 97
card   ISO/IEC 7812: 12 to 19 digits with the prefix and length of an issuer, Luhn's check digit
ip     IPv4 and IPv6 that are globally reachable (RFC 6890): 127.0.0.1 or 2001:db8::1 say nothing of a person;
       four numbers behind the word version, release or v are a version; four below 64 are a section if they begin a
       line, stand before a title in quotes, or the text has a section of three numbers that begins with the same
phone  E.164 with `+` and an assigned country code; North American (212) 555-0123; any behind a word such as tel or
       电话; bare digits are not enough
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(kw_only=True, slots=True)
class MaskConfig:
    """Field `mask` of section `clean`: which kinds of personal data become placeholders, off by default."""

    email: bool = False
    iban: bool = False
    card: bool = False
    ip: bool = False
    phone: bool = False


PLACEHOLDERS = {
    "email": "|||EMAIL_ADDRESS|||",
    "iban": "|||IBAN|||",
    "card": "|||CARD_NUMBER|||",
    "ip": "|||IP_ADDRESS|||",
    "phone": "|||PHONE_NUMBER|||",
}

_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?@"
    r"((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24})(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
_RESERVED_DOMAIN = re.compile(r"(?i)(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)$")

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?= ?[A-Z0-9])")
# The registry of ISO 13616 by length.
_IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FO FI GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
    21: "HR LV LI CH", 22: "BH BG CR GE DE IE ME RS GB VA", 23: "IL AE GI IQ TL OM SO",
    24: "AD CZ MD PK RO SA SK ES SE TN VG", 25: "PT ST LY", 26: "IS TR", 27: "FR GR IT MR MC SM BI DJ",
    28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
IBAN_LENGTHS = {country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()}

_CARD = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){11,18}(?!\d)")
_GROUP_END = re.compile(r"\d(?!\d)")
# Issuers by prefix and length, written as one pattern over the digits.
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
)

_IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\w)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\w)")
# Four numbers below this are far more often the number of a section: one address in 256 is made of such.
_SMALL = 64
_SECTION_BEFORE = re.compile(r"(?i)[§第][ \xa0]?$|\b(?:section|sec\.|chapter|clause|annex|abschnitt|kapitel)[ \xa0]$")
_SHORTER_SECTION = re.compile(r"(?<![\w.])(\d{1,2})\.\d{1,2}\.\d{1,2}(?!\w|\.\d)")
_LINE_BEFORE = re.compile(r"(?:^|\n)[ \t\xa0•*#-]*$")
_HEADING_BEHIND = re.compile(r"\.?[ \xa0]+[^\s\d]")
_TITLE_BEHIND = re.compile('[,:]?[ \xa0][“”"«„「『\u2018\u201a]')
_VERSION_BEFORE = re.compile(r"(?i)(?:version|release|build|firmware|\bv|\bver|\brev)\.?[ :=]{0,3}$")
# Not globally reachable: RFC 6890 and its successors, multicast. Own lists: those of Python change with its patches.
_LOCAL_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
    )
]  # fmt: skip
_LOCAL_IPV6 = [ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]

_SEPARATED = r"(?:[ .\-/]|\)[ .-]?|[ .-]?\()?"
# A plus with a space behind it, or digits with an exponent or a factor behind them, belong to a calculation.
_E164 = re.compile(rf"(?<![\w+])\+(?=[\d(])(?:{_SEPARATED}\d){{8,15}}(?!\d|[.,]\d|[A-Za-z]| ?[*^])")
# Assigned country codes of E.164, by zone.
_COUNTRY = re.compile(
    r"1|7|2(?:[07]|1[12368]|[2-6]\d|9[01789])|3(?:[0-469]|[578]\d)|4(?:[013-9]|2\d)|5(?:[1-8]|[09]\d)|6(?:[0-6]|[7-9]\d)|8(?:[1246]|[058]\d)"
    r"|9(?:[0-58]|[679]\d)"
)
_NANP = re.compile(r"(?<![\w.+/-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([.-]))[2-9]\d\d[.-]\d{4}(?![\w-]|\.\d)")
_CALLED = re.compile(
    r"(?i)(?:\b(?:tel(?:ephone)?|phone|mobile|cell|fax)\b(?: (?:no|number))?|电话|電話|手机|手機|传真|傳真|携帯)"
    rf"[.:\uff1a]{{0,2}} ?(\(?\d(?:{_SEPARATED}\d){{6,14}})(?!\d|[.,]\d)"
)


def mask(text: str, config: MaskConfig) -> tuple[str, dict[str, int]]:
    """The text with placeholders for the kinds that are on, and how many there were of each."""
    counts = {}
    for kind, find in FINDERS.items():
        if getattr(config, kind) and (spans := list(find(text))):
            counts[kind] = len(spans)
            text = _replace(text, spans, PLACEHOLDERS[kind])
    return text, counts


def count_placeholders(text: str, masked: dict[str, int]) -> dict[str, int]:
    """How many placeholders of the masked kinds a text has after parts of it were taken out."""
    counts = {kind: text.count(PLACEHOLDERS[kind]) for kind in masked}
    return {kind: min(count, masked[kind]) for kind, count in counts.items() if count}


def passes_luhn(digits: str) -> bool:
    """Whether the last of some digits is Luhn's check digit of the others."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def passes_mod97(iban: str) -> bool:
    """Whether an account number without spaces has the check digits of ISO 13616."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def find_emails(text: str) -> Iterator[Span]:
    """E-mail addresses outside of the reserved domains."""
    if "@" in text:
        yield from (one.span() for one in _EMAIL.finditer(text) if not _RESERVED_DOMAIN.search(one[1]))


def find_ibans(text: str) -> Iterator[Span]:
    """Account numbers, with or without single spaces."""
    for one in _IBAN.finditer(text):
        rest = IBAN_LENGTHS.get(one[0][:2], 0) - 4
        whole = re.compile(rf"(?: ?[A-Z0-9]){{{rest}}}(?![A-Za-z0-9])").match(text, one.end()) if rest > 0 else None
        if whole and passes_mod97((one[0] + whole[0]).replace(" ", "")):
            yield one.start(), whole.end()


def find_cards(text: str) -> Iterator[Span]:
    """Card numbers in groups or in one; digits in groups of their own may follow (the month, the check code)."""
    for one in _CARD.finditer(text):
        for end in sorted((group.end() for group in _GROUP_END.finditer(one[0])), reverse=True):
            groups = re.split("([ -])", one[0][:end])
            digits = "".join(groups[::2])
            if (
                _is_grouped(groups[::2])
                and len(set(groups[1::2])) <= 1
                and _ISSUERS.fullmatch(digits)
                and passes_luhn(digits)
            ):
                yield one.start(), one.start() + end
                break


def _is_grouped(groups: list[str]) -> bool:
    """Whether digits stand in groups as on a card: fours with a rest, 4-6-5, 4-6-4, or all in one."""
    lengths = [len(group) for group in groups]
    return len(lengths) == 1 or lengths in ([4, 6, 5], [4, 6, 4]) or (set(lengths[:-1]) == {4} and lengths[-1] <= 4)


def find_addresses(text: str) -> Iterator[Span]:
    """IP addresses that are globally reachable, in the order of the text."""
    public = [one for one in _IPV4.finditer(text) if _is_public_ipv4(one, text)]
    if any(map(_is_small, public)):
        numbered = {one[1] for one in _SHORTER_SECTION.finditer(text)}
        public = [one for one in public if not (_is_small(one) and _is_section(one, text, numbered))]
    found = [one.span() for one in public]
    found += [one.span() for one in _IPV6.finditer(text) if _is_public_ipv6(one[0])]
    yield from sorted(found)


def _is_public_ipv4(one: re.Match[str], text: str) -> bool:
    try:
        address = ipaddress.IPv4Address(one[0])
    except ValueError:
        return False
    before = text[max(0, one.start() - 12) : one.start()]
    return not any(address in network for network in _LOCAL_IPV4) and not _VERSION_BEFORE.search(before)


def _is_small(one: re.Match[str]) -> bool:
    return all(int(number) < _SMALL for number in one[0].split("."))


def _is_section(one: re.Match[str], text: str, numbered: set[str]) -> bool:
    """Whether four small numbers are those of a section; `numbered` are the first numbers of shorter ones."""
    before = text[max(0, one.start() - 12) : one.start()]
    return (
        one[0].partition(".")[0] in numbered
        or _SECTION_BEFORE.search(before) is not None
        or _TITLE_BEHIND.match(text, one.end()) is not None
        or (_LINE_BEFORE.search(before) is not None and _HEADING_BEHIND.match(text, one.end()) is not None)
    )


def _is_public_ipv6(written: str) -> bool:
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    return not any(address in network for network in _LOCAL_IPV6)


def find_phones(text: str) -> Iterator[Span]:
    """Phone numbers, in the order of the text and without overlap."""
    found = [one.span() for one in _E164.finditer(text) if _is_assigned(re.sub(r"\D", "", one[0]))]
    found += [one.span() for one in _NANP.finditer(text)]
    found += [one.span(1) for one in _CALLED.finditer(text)]
    last = 0
    for start, end in sorted(found):
        if start >= last:
            yield start, end
            last = end


def _is_assigned(digits: str) -> bool:
    """Whether E.164 digits have a country's code, and the form of the plan for North America."""
    if digits.startswith("1"):
        return re.fullmatch(r"1[2-9]\d\d[2-9]\d{6}", digits) is not None
    return _COUNTRY.match(digits) is not None


FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "ip": find_addresses,
    "phone": find_phones,
}


def _replace(text: str, spans: list[Span], placeholder: str) -> str:
    parts, last = [], 0
    for start, end in spans:
        parts += [text[last:start], placeholder]
        last = end
    return "".join([*parts, text[last:]])
