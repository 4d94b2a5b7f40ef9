"""Our rules against datatrove's filters on real text: the corpora of `make smoke`, English, French and Spanish.

600 documents, since datatrove's filters take 10 ms each; `python -m benchmarks.parity` compares several thousand, with
web pages in German, Portuguese, Russian and Chinese.
"""

from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import RetryError
from tests.conftest import run_module

pytest.importorskip("spacy", reason="spaCy, which cuts words for datatrove, is not installed")

from tests.data.parity import (
    CHUNKS,
    ENDS,
    ONCE,
    ORDER,
    RULES,
    SENTENCES,
    STOP_MARKS,
    STRIP,
    TOKENS,
    Comparisons,
    Text,
    compare,
)
from tests.data.realtext import fetched_texts

DOCUMENTS = 600
FIVE = "\n".join(f"This is the sentence number {number} of it." for number in range(5))
FOUR = FIVE[: FIVE.rindex("\n")]


@pytest.fixture(scope="module")
def real_texts(tmp_path_factory: pytest.TempPathFactory) -> list[Text]:
    """Some documents of each source of the smoke recipe, chosen by hash; downloads are kept as by `make smoke`."""
    out = tmp_path_factory.mktemp("real")
    done = run_module("data", "fetch", "smoke", f"run.out={out}", f"sources.cache={ROOT}/runs/cache")
    if done.returncode == RetryError.exit_code:
        pytest.skip(f"the corpora cannot be fetched now: {done.stderr}")
    assert done.returncode == 0, done.stderr
    texts = fetched_texts(Path(done.stdout.strip()))
    return [text for mine in texts.values() for text in mine[: DOCUMENTS // len(texts)]]


@pytest.fixture(scope="module")
def comparisons(real_texts: list[Text]) -> Comparisons:
    """What came of holding all rules against datatrove's."""
    return compare(real_texts)


@pytest.mark.parametrize("name", RULES)
def test_every_disagreement_with_datatrove_has_a_computed_cause(name: str, comparisons: Comparisons) -> None:
    found = comparisons[name]
    assert found.unexplained == []
    assert found.agree + found.causes.total() == DOCUMENTS
    assert found.agree > 0.8 * DOCUMENTS
    assert 0.01 * DOCUMENTS < found.dropped_by_datatrove < 0.99 * DOCUMENTS


PLANTED = [
    ("repetition", ONCE, f"{'x' * 200} {'y' * 200} and so it ends."),
    ("quality", CHUNKS, "that people, have houses, with the gardens, " * 20),
    ("quality", TOKENS, "the cannot to don't " * 12),
    ("c4", ORDER, f"{FIVE}\n{{"),
    ("c4", SENTENCES, FOUR.replace("the sentence number 1", "what Mr. Jones says")),
    ("c4", STRIP, f"{FIVE}\nIt was said so by him. [12]"),
    ("fineweb", STOP_MARKS, "A line of words that ends in an Ethiopian question mark\u1367"),
    ("fineweb", ENDS, "A line of words that ends with a full stop and a no-break space.\u00a0"),
]


@pytest.mark.parametrize(("name", "cause", "text"), PLANTED)
def test_a_cause_is_found_by_what_it_changes_and_missed_when_unknown(name: str, cause: str, text: str) -> None:
    found = compare([Text(text, "en")], names=[name])[name]
    assert list(found.causes) == [(cause,)] and found.unexplained == []
    assert len(compare([Text(text, "en")], names=[name], without=[cause])[name].unexplained) == 1


def test_code_that_decides_otherwise_than_its_rules_say_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.data.parity.fineweb_reason", lambda *_: "fineweb_stops")
    assert len(compare([Text(FIVE, "en")])["fineweb"].unexplained) == 1
