import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from core.errors import ConfigError
from data.steps.language import UNDETERMINED, LanguageConfig, classify, identify, language_reason, languages

PROSE = {
    "en": "The ship had been at sea for eleven days when the captain first saw the light of the distant town.",
    "de": "Der Hund läuft über die Straße, und die Katze sitzt auf dem Dach und sieht ihm zu, bis er verschwindet.",
    "fr": "Le navire était en mer depuis onze jours lorsque le capitaine aperçut pour la première fois la lumière.",
    "es": "El barco llevaba once días en el mar cuando el capitán vio por primera vez la luz del puerto de la ciudad.",
    "ru": "Корабль находился в море одиннадцать дней, когда капитан впервые увидел свет далёкого города вдали.",
    "zh": "人工智能是计算机科学的一个分支,它企图了解智能的实质,并生产出一种新的能以相似的方式做出反应的机器。",
    "ta": "கப்பல் பதினொரு நாட்கள் கடலில் இருந்தபோது, தொலைதூர நகரத்தின் ஒளியை கேப்டன் முதன்முதலில் கண்டார்.",
    "hi": "जहाज़ ग्यारह दिनों से समुद्र में था जब कप्तान ने पहली बार दूर के शहर की रोशनी देखी और नाविकों को बुलाया।",
    "th": "เรืออยู่ในทะเลมาสิบเอ็ดวันแล้วเมื่อกัปตันเห็นแสงไฟของเมืองที่อยู่ห่างไกลเป็นครั้งแรกและเรียกลูกเรือมาดู",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い所で泣いていた。",
}
CODE = "def f(x):\n    return {k: v for k, v in x.items() if k != 3}\n" * 8


@pytest.mark.parametrize("code", PROSE)
def test_prose_is_known(code: str) -> None:
    assert identify(PROSE[code], LanguageConfig()) == code


def test_integers_give_the_answers_of_the_package() -> None:
    package = LanguageIdentifier.from_model_file(MODEL_FILE)
    texts = [*PROSE.values(), *(text.upper() for text in PROSE.values()), *(text[:25] for text in PROSE.values()), CODE]
    assert [classify(text) for text in texts] == [package.classify(text)[0] for text in texts]


def test_short_text_and_program_code_are_not_judged() -> None:
    assert identify(PROSE["de"][:65], LanguageConfig()) == UNDETERMINED
    assert identify(PROSE["zh"][:40], LanguageConfig()) == "zh"
    assert identify(CODE, LanguageConfig()) == UNDETERMINED
    assert identify(CODE, LanguageConfig(min_letter_frac=0)) != UNDETERMINED
    assert identify("", LanguageConfig(min_letters=0)) == UNDETERMINED


def test_only_the_beginning_of_a_long_text_counts() -> None:
    text = PROSE["de"] + PROSE["ru"] * 30
    assert identify(text, LanguageConfig()) == "ru"
    assert identify(text, LanguageConfig(max_chars=len(PROSE["de"]))) == "de"


def test_what_is_not_expected_is_dropped_under_its_language() -> None:
    config = LanguageConfig(expected={"wiki": ["fr", "es"]})
    assert language_reason("de", source="wiki", config=config) == "language_de"
    assert language_reason("es", source="wiki", config=config) == ""
    assert language_reason(UNDETERMINED, source="wiki", config=config) == ""
    assert language_reason("de", source="other", config=config) == ""


def test_codes_that_do_not_exist_are_refused() -> None:
    assert len(languages()) == 140
    for codes in (["en", "xx"], []):
        with pytest.raises(ConfigError, match=r"language\.expected\.wiki has (xx|no language)"):
            LanguageConfig(expected={"wiki": codes})
