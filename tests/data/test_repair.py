from importlib.metadata import version

import pytest

from data.steps.normalize import normalize
from data.steps.repair import RepairConfig, repair, repairer_version

ON = RepairConfig(is_on=True)
FRENCH = "L'été dernier, à Besançon, le garçon naïf goûta « un cœur de bœuf » \u2013 déjà très cuit. Ça coûte 5 € !"
GERMAN = "Größe, Übermaß und „Füße“: die Änderung gefällt mir."
CHINESE = "汉字是世界上最古老的文字之一,已有六千多年的历史。“引号”与《书名》不变。"
JAPANESE = "日本語の文書では、漢字とひらがなとカタカナを混ぜて書きます。"
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю."
CODE = "if (a[\"été\"] != b'\\xc3\\xa9') { return x << 2; }  // ¬a ± b² \u00d7 ½, → λ ∀x∈\u211d, ©®™"


def misread(text: str, encoding: str, *, times: int = 1) -> str:
    """UTF-8 read by another table, as browsers read it: bytes that Windows-1252 lacks are control characters."""
    for _ in range(times):
        text = "".join(
            bytes([byte]).decode(encoding, errors="ignore") or bytes([byte]).decode("latin-1") for byte in text.encode()
        )
    return text


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", [FRENCH, GERMAN, CHINESE, JAPANESE, RUSSIAN])
def test_utf8_that_was_misread_once_or_twice_comes_back(text: str, encoding: str, times: int) -> None:
    broken = misread(text, encoding, times=times)
    assert broken != text and repair(broken, ON) == text


@pytest.mark.parametrize("text", [FRENCH, GERMAN, CHINESE, JAPANESE, RUSSIAN, CODE, f"{CODE} {CHINESE} {FRENCH}"])
def test_sound_text_is_left_as_it_is(text: str) -> None:
    assert repair(text, ON) == text


def test_only_the_encoding_is_mended() -> None:
    kept = (
        "“quotes” \u2018and\u2019 \ufb01ne ligatures, \uff37\uff49\uff44\uff45 letters, "
        "&eacute; &amp; \x1b[31mred\x1b[0m e\u0301 \ud800\r\nend\x00 "
    )
    assert repair(kept, ON) == kept
    assert repair(f"{kept}\n{misread(FRENCH, 'cp1252')}", ON) == f"{kept}\n{FRENCH}"


def test_a_line_is_mended_beside_sound_lines_and_scripts() -> None:
    # From vim-doc 2:9.0.1378, version9.html, as Debian ships it.
    found = "Solution:   Add modeline tests. (Dominique PellÃ©, closes #5369)"
    mended = "Solution:   Add modeline tests. (Dominique Pellé, closes #5369)"
    assert repair(f"{CHINESE}\n\n{found}\n{FRENCH}", ON) == f"{CHINESE}\n\n{mended}\n{FRENCH}"
    assert repair(f"{CHINESE} {found}", ON) == f"{CHINESE} {mended}"


def test_repair_comes_before_the_normal_form_which_would_take_away_what_a_letter_was() -> None:
    broken = misread(CHINESE, "latin-1")
    assert normalize(repair(broken, ON)) == CHINESE
    assert repair(normalize(broken), ON) != CHINESE


def test_repair_is_off_by_default_and_its_version_is_known() -> None:
    broken = misread(FRENCH, "cp1252")
    assert repair(broken, RepairConfig()) == broken
    assert repairer_version() == f"ftfy {version('ftfy')}"
