import gzip
import json
import random
import zipfile
from pathlib import Path

import pytest

from core.config import identity
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from data.documents import Document, key_of
from data.steps.decontaminate import Benchmark, DecontaminationConfig
from tests.data.phases import contaminated


def words(start: int, stop: int) -> str:
    return " ".join(f"w{number}" for number in range(start, stop))


def document(text: str) -> Document:
    return Document(key_of(text), "first", text, "")


def benchmark(folder: Path, name: str, records: list[dict[str, object]], *fields: str) -> Benchmark:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return Benchmark(name=name, path=path, sha256=hash_file(path), fields=list(fields))


Found = tuple[dict[str, str], dict[str, dict[str, int]]]


def find(folder: Path, texts: list[str], *benchmarks: Benchmark, buckets: int = 3, max_documents: int = 10) -> Found:
    config = DecontaminationConfig(benchmarks=list(benchmarks), max_documents=max_documents)
    return contaminated([document(text) for text in texts], config, folder, buckets=buckets)


def test_thirteen_shared_words_are_found_and_twelve_are_not(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"question": words(0, 20)}], "question")
    thirteen, twelve = f"x {words(3, 16)} y", f"x {words(3, 15)} y"
    found, report = find(tmp_path, [thirteen, twelve, thirteen.upper().replace(" ", ", ")], quiz)
    keys = map(key_of, (thirteen, thirteen.upper().replace(" ", ", ")))
    assert found == dict.fromkeys(keys, "contaminated_quiz")
    assert report == {"quiz": {"records": 1, "too_short": 0, "found": 1, "documents": 2}}


def test_short_records_are_looked_for_whole_and_shorter_ones_not_at_all(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"q": words(0, 8)}, {"q": words(100, 107)}, {"q": words(200, 210)}]
    quiz = benchmark(tmp_path, "quiz", records, "q")
    found, report = find(tmp_path, [f"x {words(0, 8)} y", f"x {words(100, 107)} y", f"x {words(200, 209)} y"], quiz)
    assert found == {key_of(f"x {words(0, 8)} y"): "contaminated_quiz"}
    assert report["quiz"] == {"records": 3, "too_short": 1, "found": 1, "documents": 1}


def test_chinese_is_found_by_letters(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"q": "床前明月光疑是地上霜舉頭望明月"}], "q")
    assert len(find(tmp_path, ["李白:床前明月光,疑是地上霜,舉頭望明月", "床前明月光,疑是地上霜"], quiz)[0]) == 1


def test_phrases_of_many_documents_are_no_evidence(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"q": words(0, 13)}], "q")
    texts = [f"x{number} {words(0, 13)} y" for number in range(4)]
    assert len(find(tmp_path, texts, quiz, max_documents=4)[0]) == 4
    found, report = find(tmp_path, texts, quiz, max_documents=3)
    assert found == {}
    assert report["quiz"]["found"] == 0


def test_of_two_benchmarks_the_first_is_named_and_both_are_counted(tmp_path: Path) -> None:
    one = benchmark(tmp_path, "one", [{"q": words(0, 13), "choices": ["a", words(50, 63)]}], "q", "choices")
    two = benchmark(tmp_path, "two", [{"q": words(0, 20)}], "q")
    found, report = find(tmp_path, [words(0, 30), words(48, 70)], one, two)
    assert found == dict.fromkeys((key_of(words(0, 30)), key_of(words(48, 70))), "contaminated_one")
    assert [report[name]["documents"] for name in ("one", "two")] == [2, 1]


def test_neither_order_nor_buckets_change_what_is_found(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"q": words(n, n + 13)} for n in range(0, 400, 40)], "q")
    texts = [f"d{number} {words(number, number + 20)}" for number in range(200)]
    expected = find(tmp_path, texts, quiz)
    random.Random(1).shuffle(texts)
    assert find(tmp_path, texts, quiz, buckets=7) == expected
    assert len(expected[0]) == 1 + 4 * 8 + 7  # windows of 20 that cover the 13 words from 0, from 40 ..., from 200


def test_a_file_that_is_not_the_one_meant_is_refused(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"q": words(0, 13)}], "q")
    quiz.path.write_text("{}\n")
    with pytest.raises(DataError, match=r"benchmark quiz: .* has SHA-256 .* the recipe says"):
        find(tmp_path, ["text"], quiz)
    quiz.sha256 = hash_file(quiz.path)
    with pytest.raises(DataError, match="line 1 is no record with q"):
        find(tmp_path, ["text"], quiz)
    quiz.path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        find(tmp_path, ["text"], quiz)


def test_the_hash_and_not_the_place_decides_the_key(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [{"q": words(0, 13)}], "q")
    decided = identity(DecontaminationConfig(benchmarks=[quiz]))
    assert decided["benchmarks"] == [{"name": "quiz", "sha256": quiz.sha256, "fields": ["q"], "member": ""}]


def test_what_means_nothing_is_refused(tmp_path: Path) -> None:
    quiz = benchmark(tmp_path, "quiz", [], "q")
    with pytest.raises(ConfigError, match="names one twice"):
        DecontaminationConfig(benchmarks=[quiz, quiz])
    with pytest.raises(ConfigError, match="min_words 14"):
        DecontaminationConfig(min_words=14)


def test_records_may_lie_compressed_in_a_wheel(tmp_path: Path) -> None:
    line = json.dumps({"q": words(0, 13)}).encode() + b"\n"
    wheel = tmp_path / "quiz-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr("quiz/test.jsonl.gz", gzip.compress(line))
    quiz = Benchmark(name="quiz", sha256=hash_file(wheel), fields=["q"], member="quiz/*.jsonl.gz", path=wheel)
    assert len(find(tmp_path, [words(0, 13), words(1, 13)], quiz)[0]) == 1
    quiz.member = "quiz/train.jsonl"
    with pytest.raises(DataError, match=r"no member that matches 'quiz/train\.jsonl'"):
        find(tmp_path, ["text"], quiz)
