import pytest

from data.steps.normalize import normalize
from data.steps.pii import IBAN_LENGTHS, PLACEHOLDERS, MaskConfig, mask, passes_luhn

ALL = MaskConfig(email=True, iban=True, card=True, ip=True, phone=True)

POSITIVE = {
    "email": [
        "jane.doe+tag@mail.corp.co.uk", "x@y.org", "o_brien-2@uni-köln.de".replace("ö", "oe"), "ROOT@HOST.COM",
    ],
    "iban": [
        "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR14 2004 1010 0505 0001 3M02 606", "NO9386011117947",
    ],
    "card": [
        "4111 1111 1111 1111", "4111-1111-1111-1111", "5555555555554444", "2223003122003222", "378282246310005",
        "3782 822463 10005", "6011111111111117", "30569309025904", "3530111333300000", "6200000000000005",
    ],
    "ip": ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:0829:0000:0000:0000:200e"],
    "phone": [
        "+49 30 901820", "+1 (212) 555-0123", "+442079460958", "+86 138 0013 8000", "(212) 555-0123", "212-555-0123",
        "212.555.0123", "+33 1 23 45 67 89", "+1-800-555-0199",
    ],
}  # fmt: skip
NEGATIVE = {
    "email": ["user@host", "@property", "a@b.c", "jane@example.com", "me@mail.example.org", "x@foo.test", "a @ b.com"],
    "iban": [
        "DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130", "GB82WEST123456987654321", "ZZ89370400440532013000",
        "XDE89370400440532013000", "ISO 8601 AND MORE",
    ],
    "card": [
        "4111 1111 1111 1112", "1234567812345678", "0000 0000 0000 0000", "9111111111111111", "41111111111111111111",
        "978-3-16-148410-0", "x4111111111111111", "3.4111111111111111", "1700000000000",
    ],
    "ip": [
        "1.2.3", "1.2.3.4.5", "v1.2.3.4", "version 1.2.3.4", "Release: 2.0.1.7", "256.1.1.1", "10.0.19041.1",
        "127.0.0.1", "192.168.1.10", "192.0.2.7", "8.8.8.8-beta", "08.08.08.08", "12:34:56", "std::vector",
        "dead::beef", "fe80::1", "2001:db8::1", "00:1a:2b:3c:4d:5e", "::1", "2024:11:22",
    ],
    "phone": [
        "2026-11-22", "1998-2001", "978-3-16-148410-0", "2125550123", "555-0123", "+5", "a+12345678", "112-555-0123",
        "+1 111 111 1111", "3.14159265358", "0x+1234", "+21012345678", "1700000000", "12 345 678",
    ],
}  # fmt: skip


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, text) for kind, texts in table.items() for text in texts]


@pytest.mark.parametrize(("kind", "written"), cases(POSITIVE))
@pytest.mark.parametrize("around", ["{}", "Say {}, please.", "({})", "在{}。", "a\n{}\nb"])
def test_what_has_the_form_is_masked_alone(kind: str, written: str, around: str) -> None:
    if around == "在{}。" and kind != "phone":
        around = "在 {} 。"
    if around == "在{}。":
        around = "在 {}。"
    assert mask(around.format(written), ALL) == (around.format(PLACEHOLDERS[kind]), {kind: 1})


@pytest.mark.parametrize(("kind", "written"), cases(NEGATIVE))
def test_near_misses_stay(kind: str, written: str) -> None:
    for text in (written, f"Say {written}, please.", f"({written})"):
        assert mask(text, MaskConfig(**{kind: True})) == (text, {})


def test_a_word_before_it_makes_a_number_a_phone() -> None:
    for before in ("Tel: ", "phone number ", "Fax. ", "电话\uff1a", "手机"):
        text = before + "138 0013 8000 ok"
        assert mask(text, ALL) == (before + PLACEHOLDERS["phone"] + " ok", {"phone": 1})
    assert mask("hotel 138 0013 8000", ALL)[1] == {}


def test_digits_behind_a_card_stay() -> None:
    assert mask("4111 1111 1111 1111 123", ALL) == (PLACEHOLDERS["card"] + " 123", {"card": 1})
    assert mask("4111 1111 1111 1111 12/27", ALL) == (PLACEHOLDERS["card"] + " 12/27", {"card": 1})


def test_kinds_are_counted_and_only_those_asked_for_are_masked() -> None:
    text = "a@b.org, c@d.org from 8.8.8.8; call +49 30 901820 or (212) 555-0123"
    masked, counts = mask(text, ALL)
    assert counts == {"email": 2, "ip": 1, "phone": 2}
    assert mask(masked, ALL) == (masked, {})
    assert normalize(masked) == masked
    assert mask(text, MaskConfig()) == (text, {})
    assert mask(text, MaskConfig(ip=True))[1] == {"ip": 1}


def test_check_digits_catch_every_single_wrong_digit() -> None:
    card = "4111111111111111"
    wrong = [card[:i] + digit + card[i + 1 :] for i in range(16) for digit in "0123456789" if digit != card[i]]
    assert passes_luhn(card)
    assert not any(passes_luhn(one) for one in wrong)
    assert len(IBAN_LENGTHS) == 88


def test_long_runs_cost_no_more_than_their_length() -> None:
    for run in (
        "a" * 200_000,
        "1" * 200_000,
        "1 " * 100_000,
        "a@" * 100_000,
        "1.1." * 50_000,
        "+1-" * 60_000,
        "2001:" * 40_000,
    ):
        mask(run, ALL)


@pytest.mark.parametrize(
    "text",
    [
        "14.3.4.2 Audit\nSee below.", "  • 9.1.12.3. S_FMT\n", "see Secció\xa014.3.4.2, «Auditoria de paquets»",
        "Section 7.2.5.1 says so.", "参考第\xa06.7.3.1\xa0节", "7.2.5 Text\n\nand more of it in 7.2.5.1, too",
        "[§ 23.3.6.2]",
    ],
)  # fmt: skip
def test_numbers_of_sections_are_no_addresses(text: str) -> None:
    assert mask(text, ALL) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "from 14.3.4.2 to",
        "14.3.4.2\n8.8.8.8\n",
        "7.2.5 Text, host 8.8.8.8",
        "62.3.3.26 gw 62.3.3.25",
        "Section 93.184.216.34",
    ],
)
def test_small_numbers_with_nothing_of_a_section_are_addresses(text: str) -> None:
    assert mask(text, ALL)[1]["ip"] >= 1


@pytest.mark.parametrize(
    "text",
    [
        # from manuals, and each with an issuer's prefix and Luhn's digit
        "2 3 0 7 8 1 6 4 0 6 2 8 6 2 0 8", "41 42 43 44 45 46 47 48", "255 500 255 0 0 500 0 0", "459 2010-10-05 03",
        "2 4096 4096 204800 1", "2345 3456-4567 5678",
        "41111 1111 1111 111", "4111-1111 1111-1111", "x^2 + 344489984 y + 655360000", "+67108864*x", "+4989123456e5",
    ],
)  # fmt: skip
def test_rows_of_numbers_and_sums_are_no_cards_and_phones(text: str) -> None:
    assert mask(text, ALL) == (text, {})
