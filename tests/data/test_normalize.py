import random

import pytest

from data.steps.normalize import normalize


@pytest.mark.parametrize(
    ("found", "normal"),
    [
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        (
            "one\r\ntwo\rthree\x85four\u2028five\u2029six\x0cseven\x0beight",
            "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight",
        ),
        ("a\x00b\x07c\x9fd", "abcd"),
        ("\ufeffa\u2060b\u00adc\u200ed\u200f", "abcd"),
        ("a\u2581b", "a b"),
        ("a\ud800b", "a\ufffdb"),
        ("one  \t\ntwo \n\n\n\n  three", "one\ntwo\n\n  three"),
        ("\n\n  indented\n\n", "  indented"),
        (
            "\u00ab\u00a0no-break\u202f\u00bb \u2026 \u201cquotes\u201d\tand tabs",
            "\u00ab\u00a0no-break\u202f\u00bb \u2026 \u201cquotes\u201d\tand tabs",
        ),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
    ],
)
def test_the_normal_form_is_as_documented(found: str, normal: str) -> None:
    assert normalize(found) == normal


def test_normalizing_twice_changes_nothing() -> None:
    source = random.Random(3)
    special = "\r\n\t \x00\x85\u2028\u2581\u0301\u0327\ufeff\ud800\udc00\u1100\u1161\u11a8e"
    for _ in range(3000):
        text = "".join(source.choice(special) for _ in range(source.randint(0, 24)))
        once = normalize(text)
        assert normalize(once) == once, ascii(text)
        once.encode()
