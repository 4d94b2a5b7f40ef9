import pytest

from core.errors import ConfigError
from data.steps.signals import Signals
from data.steps.web import C4Config, FinewebConfig, c4_lines, fineweb_reason
from tests.data.prose import CHINESE, ENGLISH, JAPANESE

FIVE = "\n".join(f"This is sentence number {number}." for number in range(5))


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, JAPANESE])
def test_prose_passes_and_keeps_its_lines(text: str) -> None:
    assert c4_lines(text, C4Config()) == (text.replace("\n\n", "\n"), "")
    assert fineweb_reason(Signals(text), FinewebConfig()) == ""


@pytest.mark.parametrize(
    "line",
    [
        "No mark at the end",
        "It goes on and on ...",
        "Two words.",
        "Please enable JavaScript to see it.",
        "Read our Privacy Policy and be happy.",
        f"The word {'x' * 1001} is long.",
    ],
)
def test_c4_takes_out_a_line(line: str) -> None:
    assert c4_lines(f"{FIVE}\n{line}\n{FIVE}", C4Config()) == (f"{FIVE}\n{FIVE}", "")


def test_c4_rules_can_be_switched_off() -> None:
    config = C4Config(terminals="", min_line_words=0, min_sentences=0, refused_lines=[], refused=[], has_citations=True)
    text = "x\nuse cookies {1}\nlorem ipsum [1]"
    assert c4_lines(text, config) == (text, "")


def test_c4_drops_pages_and_leaves_them_as_they_were() -> None:
    for text in (f"{FIVE}\nLorem ipsum dolor.", f"{FIVE}\nint main() {{", f"{FIVE}\nif (x) {{ y; }}."):
        assert c4_lines(text, C4Config()) == (text, "c4_refused")
    four = FIVE[: FIVE.rindex("\n")]
    assert c4_lines(four + "\nno end", C4Config()) == (four + "\nno end", "c4_few_sentences")
    assert c4_lines(four, C4Config(min_sentences=4)) == (four, "")


def test_c4_takes_out_citations() -> None:
    assert c4_lines(f"{FIVE}\nIt was so.[12] Indeed[citation needed] it was.[3]", C4Config())[0].endswith(
        "\nIt was so. Indeed it was."
    )


def test_sentences_are_counted_by_their_marks() -> None:
    assert c4_lines('He said "Go!" Then? Yes... It is 3.14 now. Done.', C4Config())[1] == ""
    assert c4_lines("Version 1.2.3.4.5 is here for you.", C4Config())[1] == "c4_few_sentences"
    assert c4_lines("天黑了。我走了。他來了。你好。再見。", C4Config())[1] == ""


FINEWEB = {
    "fineweb_stops": ENGLISH.replace(".", ""),
    "fineweb_short_lines": "\n".join(
        ["Short line."] * 0 + [f"It is the line {number}." for number in range(9)] + [ENGLISH]
    ),
    "fineweb_repeated_lines": "\n".join([ENGLISH.split("\n")[0]] * 2 + [ENGLISH]),
    "fineweb_list": "\n".join(f"internationalizationofconfiguration{number}." for number in range(20)),
}


@pytest.mark.parametrize("reason", FINEWEB)
def test_fineweb_drops_under_its_rule(reason: str) -> None:
    assert fineweb_reason(Signals(FINEWEB[reason]), FinewebConfig()) == reason
    config = FinewebConfig(min_stop_line_frac=0, max_short_line_frac=1, max_repeated_frac=1, max_line_token_ratio=99)
    assert fineweb_reason(Signals(FINEWEB[reason]), config) == ""


def test_a_line_of_chinese_is_as_wide_as_three_times_its_letters() -> None:
    lines = "\n".join(f"{number}渐近故乡时天气又阴晦。" for number in range(9))
    assert fineweb_reason(Signals(lines), FinewebConfig(short_line_chars=31)) == ""
    assert fineweb_reason(Signals(lines), FinewebConfig(short_line_chars=32)) == "fineweb_short_lines"


def test_fractions_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"max_short_line_frac is 1\.5"):
        FinewebConfig(max_short_line_frac=1.5)
