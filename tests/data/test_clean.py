import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from core.artifact import Artifact, current
from core.config import load
from core.errors import ConfigError, DataError, DeterministicError
from core.hashing import hash_file
from data.clean import main
from data.cleanconfig import CleanConfig
from data.cleaning.publish import is_heldout
from data.documents import key_of, read_documents
from data.report import Balance, checked_report, count_written
from data.sources.fetch import main as fetch_main
from tests.conftest import run_module, write_recipe
from tests.data.cleaned import clean, content, documents, dropped, fetch_and_clean, report, sentence, write_files
from tests.data.prose import CHINESE, ENGLISH


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fetched tiny recipe; tests clean it into folders of their own."""
    recipe = write_recipe(tmp_path_factory.mktemp("clean"))
    fetch_main([str(recipe)])
    return recipe


def test_the_digest_is_equal_for_one_two_and_three_workers(prepared: Path, tmp_path: Path) -> None:
    digests = {clean(prepared, tmp_path / str(n), f"data.workers={n}").digest for n in (1, 2, 3)}
    assert len(digests) == 1


def test_the_order_of_the_records_does_not_change_a_byte(prepared: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    for name, separator in (("alpha.jsonl", "\n"), ("beta.txt", "\n\n")):
        path = tiny_recipe.parent / "corpus" / name
        records = path.read_text(encoding="utf-8").strip().split(separator)
        random.Random(5).shuffle(records)
        path.write_text(separator.join(records) + "\n", encoding="utf-8")
    assert content(fetch_and_clean(tiny_recipe)) == content(clean(prepared, tmp_path / "out"))


def test_a_changed_threshold_makes_another_artifact_and_the_old_one_is_not_reused(
    prepared: Path, tmp_path: Path
) -> None:
    first = clean(prepared, tmp_path)
    again = clean(prepared, tmp_path)
    stricter = clean(prepared, tmp_path, "clean.filters.min_chars=200")
    assert again == first
    assert stricter.folder != first.folder
    assert stricter.digest != first.digest
    assert Counter(row["reason"] for row in dropped(stricter))["too_few_chars"] > 0 == len(dropped(first))
    assert all(len(one.text) >= 200 for one in documents(stricter, "train"))


def test_documents_are_sorted_whole_and_split_once(prepared: Path, tmp_path: Path) -> None:
    artifact = clean(prepared, tmp_path)
    train, heldout = documents(artifact, "train"), documents(artifact, "heldout")
    assert {one.key for one in train}.isdisjoint(one.key for one in heldout)
    assert len(train) + len(heldout) == 500
    for path in (artifact.folder / "train").iterdir():
        keys = [one.key for one in read_documents(path)]
        assert keys == sorted(keys)
        assert {one.source for one in read_documents(path)} == {path.name.rpartition("-")[0]}


def test_shards_are_cut_by_documents_and_by_bytes(prepared: Path, tmp_path: Path) -> None:
    whole = documents(clean(prepared, tmp_path / "whole"), "train")
    by_count = clean(prepared, tmp_path / "count", "clean.shard_documents=50")
    sizes = [len(list(read_documents(path))) for path in sorted((by_count.folder / "train").glob("alpha-*.jsonl"))]
    assert sizes[:-1] == [50] * (len(sizes) - 1)
    by_size = clean(prepared, tmp_path / "size", "clean.shard_bytes=9000")
    assert all(path.stat().st_size <= 9000 for path in (by_size.folder / "train").iterdir())
    assert whole == documents(by_count, "train") == documents(by_size, "train")


def test_who_is_held_out_depends_on_the_text_and_the_seed_alone(prepared: Path, tmp_path: Path) -> None:
    first = {one.key for one in documents(clean(prepared, tmp_path / "one"), "heldout")}
    other = {one.key for one in documents(clean(prepared, tmp_path / "two", "clean.seed=2"), "heldout")}
    assert first != other
    stricter = clean(prepared, tmp_path / "three", "clean.filters.min_chars=200")
    assert {one.key for one in documents(stricter, "heldout")} <= first
    keys = [key_of(str(number)) for number in range(20_000)]
    held = sum(is_heldout(key, seed=1, permille=15) for key in keys)
    assert abs(held - 300) < 4 * 300**0.5  # four standard deviations of a binomial
    assert not any(is_heldout(key, seed=1, permille=0) for key in keys[:1000])


def test_of_equal_texts_the_one_of_the_first_source_survives(tiny_recipe: Path) -> None:
    shared = [sentence(number) for number in range(20)]
    decomposed = [text.replace("é", "e\u0301").replace("à", "a\u0300") + "  " for text in shared]
    write_files(tiny_recipe, [*shared, shared[0]], [*decomposed, sentence(99)])
    artifact = fetch_and_clean(tiny_recipe, "clean.heldout_permille=0")
    assert sorted(one.text for one in documents(artifact, "train") if one.source == "alpha") == sorted(shared)
    assert [one.text for one in documents(artifact, "train") if one.source == "beta"] == [sentence(99)]
    assert Counter((row["source"], row["reason"]) for row in dropped(artifact)) == {
        ("alpha", "duplicate"): 1,
        ("beta", "duplicate"): 20,
    }
    assert {row["key"] for row in dropped(artifact)} == {key_of(text) for text in shared}


def test_the_report_says_what_a_recount_finds(tiny_recipe: Path) -> None:
    texts = [*(sentence(number) for number in range(200)), "short", "123 4567 " * 30, sentence(1), "", "x\r\ny"]
    write_files(tiny_recipe, texts, [sentence(number) for number in range(150, 250)])
    artifact = fetch_and_clean(tiny_recipe)
    said = report(artifact)["sources"]
    assert said["alpha"]["in"] == {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
    for source, balance in said.items():
        for split in ("train", "heldout"):
            mine = [one for one in documents(artifact, split) if one.source == source]
            size = sum(len(one.text.encode()) for one in mine)
            assert balance[split] == {"documents": len(mine), "bytes": size}
        reasons = Counter(row["reason"] for row in dropped(artifact) if row["source"] == source)
        assert balance["dropped"]["reasons"] == reasons
        went_out = sum(balance[name]["documents"] for name in ("train", "heldout", "dropped"))
        assert went_out == balance["in"]["documents"]
    assert said["alpha"]["dropped"]["reasons"] == {"too_few_chars": 2, "digits": 1, "duplicate": 1, "empty": 1}


def test_a_document_lost_on_the_way_is_noticed(prepared: Path, tmp_path: Path) -> None:
    artifact = clean(prepared, tmp_path)
    shutil.copytree(artifact.folder, tmp_path / "copy")
    checked_report(recounted(artifact, tmp_path / "copy"))
    shard = tmp_path / "copy" / "train" / "alpha-00000.jsonl"
    shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(DeterministicError, match="source alpha: 300 documents"):
        checked_report(recounted(artifact, tmp_path / "copy"))


def recounted(artifact: Artifact, folder: Path) -> dict[str, Balance]:
    """The balances that the report says, but with what was written counted again."""
    balances = {source: Balance() for source in ("alpha", "beta")}
    for source, said in report(artifact)["sources"].items():
        nothing = {"documents": 0, "bytes": 0}
        balances[source].take({**said, "train": nothing, "heldout": nothing})
    count_written(folder, balances)
    return balances


def test_a_source_of_which_nothing_is_left_is_bad_data(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="source alpha: of 300 documents none is left to train"):
        clean(prepared, tmp_path, "clean.filters.min_chars=100000")
    assert not list(tmp_path.glob("clean*"))


def test_an_unreadable_record_stops_with_66_or_is_dropped_and_counted(tiny_recipe: Path) -> None:
    path = tiny_recipe.parent / "corpus" / "alpha.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "torn')
    fetch_main([str(tiny_recipe)])
    finished = run_module("data", "clean", tiny_recipe)
    assert finished.returncode == 66
    assert finished.stderr == (
        "error: alpha.jsonl line 301 is unreadable (unreadable_json); "
        "mend it, or drop and count such records: read.on_error=drop\n"
    )
    artifact = fetch_and_clean(tiny_recipe, "sources.items.0.read.on_error=drop")
    assert [(row["source"], row["reason"]) for row in dropped(artifact)] == [("alpha", "unreadable_json")]


def test_near_duplicates_are_dropped_on_request_with_the_key_of_what_stays(tiny_recipe: Path) -> None:
    words = [f"word{number}" for number in range(100)]
    near = " ".join([*words[:-1], "other"])
    write_files(tiny_recipe, [" ".join(words), sentence(1)], [near, sentence(2)])
    artifact = fetch_and_clean(tiny_recipe, "clean.heldout_permille=0")
    assert dropped(artifact) == []
    digests = set()
    for workers in (1, 2):
        out = f"run.out={tiny_recipe.parent / str(workers)}"
        main([str(tiny_recipe), f"run.inputs={tiny_recipe.parent / 'runs'}", out, "clean.heldout_permille=0",
              "clean.fuzzy.is_on=true", f"data.workers={workers}"])  # fmt: skip
        digests.add(current(tiny_recipe.parent / str(workers), "clean").digest)
    assert len(digests) == 1
    artifact = current(tiny_recipe.parent / "1", "clean")
    gone = {"key": key_of(near), "source": "beta", "reason": "near_duplicate", "twin": key_of(" ".join(words))}
    assert dropped(artifact) == [gone]
    assert report(artifact)["sources"]["beta"]["dropped"]["reasons"] == {"near_duplicate": 1}


def test_personal_data_is_masked_on_request_before_texts_are_compared(tiny_recipe: Path) -> None:
    said = [f"{sentence(1)} Write to {name}@corp.org or 8.8.8.8." for name in ("jane", "joe")]
    write_files(tiny_recipe, said, [sentence(2)])
    assert {one.text for one in documents(fetch_and_clean(tiny_recipe), "train")} >= {said[0], said[1]}
    artifact = fetch_and_clean(tiny_recipe, "clean.mask.email=true", "clean.mask.ip=true", "clean.heldout_permille=0")
    masked = f"{sentence(1)} Write to |||EMAIL_ADDRESS||| or |||IP_ADDRESS|||."
    assert [one.text for one in documents(artifact, "train") if one.source == "alpha"] == [masked]
    alpha = report(artifact)["sources"]["alpha"]
    assert alpha["masked"] == {"email": 1, "ip": 1}
    assert alpha["dropped"]["reasons"] == {"duplicate": 1}
    assert alpha["edited_away_bytes"] == sum(len(text.encode()) - len(masked.encode()) for text in said)


def test_documents_in_another_language_than_their_source_are_dropped_on_request(tiny_recipe: Path) -> None:
    german = "Der Hund läuft über die Straße, und die Katze sitzt auf dem Dach und sieht ihm zu. " * 2
    english = "The ship had been at sea for eleven days when the captain first saw the light of the distant town. " * 2
    write_files(tiny_recipe, [german, english, sentence(1)], [german + "Ende.", sentence(2)])
    expected = "clean.language.expected.alpha=[en]"
    artifact = fetch_and_clean(tiny_recipe, "clean.heldout_permille=0", expected)
    assert dropped(artifact) == [{"key": key_of(german.strip()), "source": "alpha", "reason": "language_de"}]
    assert report(artifact)["total"]["languages"] == {"de": 1, "en": 1, "undetermined": 2}
    assert artifact.record["config"]["language_model"] == "py3langid 0.4.0"
    with pytest.raises(ConfigError, match="has gamma, which is no source; the sources are alpha, beta"):
        fetch_and_clean(tiny_recipe, "clean.language.expected.gamma=[en]")


def test_rules_for_web_text_drop_and_cut_on_request_and_leave_chinese_alone(tiny_recipe: Path) -> None:
    spam = " ".join(["Buy the very best red shoes of all now."] * 20)
    write_files(
        tiny_recipe,
        [ENGLISH, CHINESE, spam, "The ship had been out at sea, and that with all of the crew."],
        [ENGLISH + "\nHome | Contact", sentence(2)],
    )
    switches = [f"clean.{name}.is_on=true" for name in ("c4", "repetition", "quality", "fineweb")]
    artifact = fetch_and_clean(tiny_recipe, "clean.heldout_permille=0", "clean.c4.min_sentences=1", *switches)
    kept = {ENGLISH.replace("\n\n", "\n"), CHINESE.replace("\n\n", "\n")}
    assert {one.text for one in documents(artifact, "train") if one.source == "alpha"} == kept
    reasons = report(artifact)["sources"]["alpha"]["dropped"]["reasons"]
    assert reasons == {"top_3gram": 1, "gopher_few_words": 1}
    assert report(artifact)["total"]["edited_away_bytes"] > 0


def test_lines_of_many_documents_are_taken_out_on_request_and_what_is_left_is_judged_again(tiny_recipe: Path) -> None:
    menu = "Home | Products | About us | Contact | Imprint | Write to a@b.org"
    masked = menu.replace("a@b.org", "|||EMAIL_ADDRESS|||")
    write_files(tiny_recipe, [f"{menu}\n{sentence(n)}" for n in range(3)], [f"{menu}\nshort", sentence(2), sentence(9)])
    switches = ["clean.lines.is_on=true", "clean.mask.email=true", "clean.heldout_permille=0"]
    artifact = fetch_and_clean(tiny_recipe, *switches)
    first, *others = sorted((f"{masked}\n{sentence(n)}" for n in range(3)), key=key_of)
    kept = {first, sentence(9), *(text.split("\n")[1] for text in others)}
    assert {one.text for one in documents(artifact, "train")} == kept | {sentence(2)}
    gone = {("too_few_chars", key_of(f"{masked}\nshort"))}
    gone |= {("duplicate", key_of(sentence(2)))} if sentence(2) in kept else set()
    assert {(row["reason"], row["key"]) for row in dropped(artifact)} == gone
    said = report(artifact)["total"]
    assert said["masked"] == {"email": 1}
    assert said["edited_away_bytes"] == 2 * (len(masked) + 1) - 4 * (len(masked) - len(menu))


def test_text_of_evaluation_sets_is_dropped_on_request_and_reported_by_benchmark(tiny_recipe: Path) -> None:
    write_files(tiny_recipe, [sentence(1), f"Once more: {sentence(2)}"], [sentence(3)])
    path = tiny_recipe.parent / "quiz.jsonl"
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in (sentence(2), sentence(9), "What?")))
    pinned = f"{{name: quiz, path: {path}, sha256: {hash_file(path)}, fields: [question]}}"
    switch = f"clean.decontamination.benchmarks=[{pinned}]"
    artifact = fetch_and_clean(tiny_recipe, "clean.heldout_permille=0", switch)
    key = key_of(f"Once more: {sentence(2)}")
    assert dropped(artifact) == [{"key": key, "source": "alpha", "reason": "contaminated_quiz"}]
    assert report(artifact)["benchmarks"] == {"quiz": {"records": 3, "too_short": 1, "found": 1, "documents": 1}}
    path.write_text("{}")
    with pytest.raises(DataError, match="benchmark quiz"):
        fetch_and_clean(tiny_recipe, switch, "clean.seed=7")


def test_a_second_run_finds_its_work_done(prepared: Path, tmp_path: Path) -> None:
    first = clean(prepared, tmp_path)
    changed = (first.folder / "witness" / "timing.json").stat().st_mtime_ns
    assert clean(prepared, tmp_path, "data.workers=2") == first
    assert (first.folder / "witness" / "timing.json").stat().st_mtime_ns == changed
    shard = first.folder / "train" / "alpha-00000.jsonl"
    good = hash_file(shard)
    shard.write_bytes(shard.read_bytes()[:-40])
    assert clean(prepared, tmp_path) == first
    assert hash_file(shard) == good


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("clean.heldout_permille=1000", "give 0 to 999"),
        ("clean.shards=0", "shards is 0"),
        ("clean.shards=70000", "at most 65536"),
        ("clean.shard_documents=0", "shard_documents is 0"),
        ("clean.filters.max_symbol_frac=2", "fraction from 0 to 1"),
        ("clean.filters.min_char=2", "min_char"),
    ],
)
def test_a_mistake_in_the_section_is_one_clear_line(prepared: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(str(prepared), "clean", CleanConfig, [override])
