"""The phases of stage clean together: parts, buckets, priorities, what is dropped on request, and the counts."""

import json
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, RetryError
from core.hashing import hash_file
from data.cleanconfig import TakenDownConfig
from data.cleaning.buckets import FRAMES, BucketWriter, bucket_of, read_frames, read_lines
from data.cleaning.judge import Part, parts_of, read_part
from data.documents import key_of
from data.reading.extract import ReadConfig
from data.sources.fetch import Source
from tests.data.cleaned import clean, content, documents, dropped, fetch_and_clean, report, sentence, write_files

MENU = "Home | Products | About us | Contact | Imprint | Legal notice"
EVERYTHING = [
    *(f"clean.{name}.is_on=true" for name in ("lines", "fuzzy", "repair", "repetition")),
    *(f"clean.mask.{name}=true" for name in ("email", "ip")),
    "data.keep_dropped=true",
]


LETTERS = str.maketrans("0123456789", "abcdefghij")


def near(number: int, *, changed: int = -1) -> str:
    """Words that no other number has; one of them changed leaves a near-duplicate."""
    words = ["other" if n == changed else f"w{number}x{n}".translate(LETTERS) for n in range(60)]
    return " ".join([*words, "the end of it"])


def write_messy(recipe: Path) -> None:
    """Texts of which every step drops or changes some, in both sources."""
    alpha = [sentence(n) for n in range(40)] + [f"{MENU}\n{sentence(n)}" for n in range(100, 130)]
    alpha += ["short", f"{'x' * 300} and some words more", sentence(1), "123 456 789 " * 20]
    alpha += [f"{sentence(n)} Write to jane{n}@corp.org." for n in range(200, 210)]
    alpha += [near(n) for n in range(20)]
    beta = [sentence(n) for n in range(30, 60)] + [f"{MENU}\n{sentence(n)}" for n in range(120, 140)]
    beta += [near(n, changed=30) for n in range(10, 30)]
    write_files(recipe, alpha, beta)


def test_neither_parts_nor_buckets_nor_workers_change_a_byte_of_any_step(tiny_recipe: Path, tmp_path: Path) -> None:
    write_messy(tiny_recipe)
    first = fetch_and_clean(tiny_recipe, *EVERYTHING)
    reasons = report(first)["total"]["dropped"]["reasons"]
    assert reasons.keys() >= {"too_few_chars", "long_word", "digits", "duplicate", "near_duplicate"}
    assert report(first)["total"]["edited_away_bytes"] > 0
    cut = ["clean.part_bytes=2500", "clean.shards=3", "data.workers=2"]
    assert content(clean(tiny_recipe, tmp_path / "cut", *EVERYTHING, *cut)) == content(first)


def test_the_counts_of_the_steps_follow_from_one_another(tiny_recipe: Path) -> None:
    write_messy(tiny_recipe)
    said = report(fetch_and_clean(tiny_recipe, *EVERYTHING))
    assert said["versions"].keys() == {"python", "ftfy", "numpy", "py3langid", "pyarrow", "resiliparse", "xxhash"}
    for counts in (said["total"], *said["sources"].values()):
        steps = counts["steps"]
        assert steps.keys() == {"judge", "exact", "lines", "exact_again", "fuzzy"}
        before = counts["in"]
        for name in ("judge", "exact", "lines", "exact_again", "fuzzy"):
            assert steps[name]["in"] == before
            dropped_here = sum(steps[name]["dropped"].values())
            assert steps[name]["out"]["documents"] == before["documents"] - dropped_here
            before = steps[name]["out"]
        assert before["documents"] == counts["train"]["documents"] + counts["heldout"]["documents"]
    reasons = sum((Counter(step["dropped"]) for step in said["total"]["steps"].values()), Counter[str]())
    assert reasons == said["total"]["dropped"]["reasons"]
    assert said["total"]["steps"]["lines"]["out"]["bytes"] < said["total"]["steps"]["lines"]["in"]["bytes"]


def test_a_source_with_priority_keeps_what_others_share_with_it(tiny_recipe: Path) -> None:
    shared, words = sentence(1), [f"word{number}" for number in range(100)]
    one, other = " ".join([*words, "one"]), " ".join([*words, "other"])
    menus = [f"{MENU}\n{sentence(n)}" for n in (10, 11)]
    write_files(tiny_recipe, [shared, one, menus[0], sentence(2)], [shared, other, menus[1], sentence(3)])
    switches = ["clean.fuzzy.is_on=true", "clean.lines.is_on=true", "clean.lines.min_documents=2"]
    kept = {}
    for priority in ("{}", "{beta: -1}", "{alpha: 1}", "{alpha: 1, beta: 2}"):
        asked = [*switches, f"clean.priority={priority}", "clean.heldout_permille=0"]
        artifact = fetch_and_clean(tiny_recipe, *asked)
        kept[priority] = {(one.source, one.text) for one in documents(artifact, "train")}
    alone = {("alpha", sentence(2)), ("beta", sentence(3))}
    first = {("alpha", shared), ("alpha", one), ("alpha", menus[0]), ("beta", sentence(11))} | alone
    second = {("beta", shared), ("beta", other), ("alpha", sentence(10)), ("beta", menus[1])} | alone
    assert kept == {"{}": first, "{beta: -1}": second, "{alpha: 1}": second, "{alpha: 1, beta: 2}": first}
    with pytest.raises(ConfigError, match=r"clean\.priority has gamma, which is no source; the sources are alpha"):
        fetch_and_clean(tiny_recipe, "clean.priority={gamma: 1}")


def test_the_texts_of_dropped_documents_are_kept_on_request_and_change_nothing_else(tiny_recipe: Path) -> None:
    twins = [near(1), near(1, changed=30)]
    write_files(tiny_recipe, ["short", sentence(1), sentence(1), twins[0]], [sentence(1), "tiny", *twins, sentence(2)])
    switches = ["clean.fuzzy.is_on=true", "clean.heldout_permille=0"]
    without = fetch_and_clean(tiny_recipe, *switches)
    artifact = fetch_and_clean(tiny_recipe, *switches, "data.keep_dropped=true")
    assert not (without.folder / "dropped").exists()
    assert without.folder != artifact.folder
    for name in ("dropped.jsonl", "report.json", "train/alpha-00000.jsonl"):
        assert (without.folder / name).read_bytes() == (artifact.folder / name).read_bytes()
    found = {
        source: [json.loads(line) for line in (artifact.folder / "dropped" / f"{source}.jsonl").open()]
        for source in ("alpha", "beta")
    }
    rows = [*found["alpha"], *found["beta"]]
    listed = [{name: row[name] for name in row if name not in ("text", "origin")} for row in rows]
    assert sorted(listed, key=str) == sorted(dropped(artifact), key=str)
    said = {
        source: sorted((row["reason"], row["text"], row["origin"]) for row in rows) for source, rows in found.items()
    }
    assert said["alpha"] == [("duplicate", sentence(1), "alpha.jsonl"), ("too_few_chars", "short", "alpha.jsonl")]
    assert said["beta"] == [
        ("duplicate", sentence(1), "beta.txt"),
        ("duplicate", twins[0], "beta.txt"),
        ("near_duplicate", twins[1], "beta.txt"),
        ("too_few_chars", "tiny", "beta.txt"),
    ]
    assert all(row["key"] == key_of(row["text"]) for row in rows)
    assert all([row["key"] for row in mine] == sorted(row["key"] for row in mine) for mine in found.values())


def test_what_is_taken_down_goes_and_none_of_its_copies_comes_back(tiny_recipe: Path) -> None:
    twins = [near(1), near(1, changed=30)]
    write_files(tiny_recipe, [twins[0], sentence(1)], [twins[0], twins[1], sentence(2)])
    switches = ["clean.fuzzy.is_on=true", "clean.heldout_permille=0"]
    before = fetch_and_clean(tiny_recipe, *switches)
    path = tiny_recipe.parent / "down.jsonl"
    lines = [
        {"key": key, "reason": "asked by its author", "date": "2026-11-22"} for key in (key_of(twins[0]), "0" * 32)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    switch = f"clean.taken_down={{path: {path}, sha256: {hash_file(path)}}}"
    after = fetch_and_clean(tiny_recipe, *switches, switch)
    kept = {one.text for one in documents(before, "train")} - {one.text for one in documents(after, "train")}
    assert kept == {twins[0]}
    assert [row for row in dropped(after) if row not in dropped(before)] == [
        {"key": key_of(twins[0]), "source": "alpha", "reason": "taken_down"}
    ]
    assert report(after)["total"]["steps"]["take_down"]["dropped"] == {"taken_down": 1}
    assert report(after)["taken_down"] == {"listed": 2, "sha256": hash_file(path)}
    moved = path.rename(path.with_name("moved.jsonl"))
    again = f"clean.taken_down={{path: {moved}, sha256: {hash_file(moved)}}}"
    assert fetch_and_clean(tiny_recipe, *switches, again) == after


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"key": "' + b"0" * 32 + b'", "reason": "x"}\n', "line 1 is no document taken down: KeyError"),
        (b'{"key": "0", "reason": "x", "date": "y"}\n', "32 hex digits"),
        (b"\xff\n", "line 1"),
    ],
)
def test_a_list_of_documents_taken_down_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "down.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        TakenDownConfig(path=path, sha256=hash_file(path)).keys()
    with pytest.raises(DataError, match=r"has SHA-256 .*, the recipe says none"):
        TakenDownConfig(path=path).keys()
    with pytest.raises(DataError, match="cannot be read"):
        TakenDownConfig(path=tmp_path / "none", sha256=hash_file(path)).keys()


def test_text_is_mended_on_request_before_it_is_compared(tiny_recipe: Path) -> None:
    torn = sentence(1).encode().decode("cp1252", errors="replace")
    write_files(tiny_recipe, [torn, sentence(1)], [sentence(2)])
    assert dropped(fetch_and_clean(tiny_recipe)) == []
    artifact = fetch_and_clean(tiny_recipe, "clean.repair.is_on=true", "clean.heldout_permille=0")
    assert [row["reason"] for row in dropped(artifact)] == ["duplicate"]
    assert artifact.record["config"]["repairer"].startswith("ftfy ")


def write_source(folder: Path, sizes: dict[str, int]) -> Source:
    """A source of text files, each of so many documents of ten bytes."""
    for name, size in sizes.items():
        (folder / name).write_bytes(b"".join(b"text%04d\n\n" % number for number in range(size)))
    return Source(name="one", is_archive=False, read=ReadConfig(), files=[(name, folder / name) for name in sizes])


def test_small_files_share_a_task_and_a_large_one_is_shared_by_some(tmp_path: Path) -> None:
    source = write_source(tmp_path, {"a.txt": 3, "b.txt": 4, "c.txt": 25, "d.txt": 2, "e.txt": 9})
    parts = parts_of([source, source], part_bytes=100)
    expected = [Part(0, 0, 2), *(Part(0, 2, 3, share, 3) for share in range(3)), Part(0, 3, 4), Part(0, 4, 5)]
    assert [part for part in parts if part.source == 0] == expected
    assert len(parts) == 2 * len(expected)
    read = [[raw.text for raw in read_part(source, part)] for part in expected]
    assert [len(texts) for texts in read] == [7, 9, 8, 8, 2, 9]
    everything = [raw.text for raw in read_part(source, Part(0, 0, 5))]
    assert sorted(text for texts in read for text in texts) == sorted(everything)


def test_a_part_of_an_archive_reads_its_pages_alone(tmp_path: Path) -> None:
    path = tmp_path / "pages.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(7):
            archive.writestr(
                f"{number}.html", f"<p>page {number}</p>" if number != 4 else b"<meta charset=utf-8><p>\xff"
            )
        archive.writestr("lines.txt", "one\n\ntwo\n\nthree")
    source = Source(
        name="one", is_archive=True, read=ReadConfig(members=["*.html", "*.txt"]), files=[("pages.zip", path)]
    )
    with pytest.raises(DataError, match=r"4\.html is unreadable"):
        list(read_part(source, Part(0, 0, 1, 1, 3)))
    found = [[raw.text for raw in read_part(source, Part(0, 0, 1, share, 3))] for share in (0, 2)]
    assert found == [["page 0", "page 3", "page 6", "three"], ["page 2", "page 5", "two"]]


def test_a_web_archive_is_one_part(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    path.write_bytes(b"x" * 1000)
    source = Source(name="one", is_archive=False, read=ReadConfig(), files=[("crawl.warc", path)])
    assert parts_of([source], part_bytes=100) == [Part(0, 0, 1)]


def test_buckets_are_ranges_of_keys_and_hold_records_in_their_order(tmp_path: Path) -> None:
    keys = [f"{number * 0x1F3D5B79 % (1 << 32):08x}{number:024x}" for number in range(20_000)]
    with BucketWriter(tmp_path, buckets=7) as writer:
        for key in keys:
            writer.add(bucket_of(key, 7), key.encode() + b"\n")
    read = [[line.decode() for line in read_lines([tmp_path], bucket)] for bucket in range(7)]
    assert read == [[key for key in keys if bucket_of(key, 7) == bucket] for bucket in range(7)]
    assert all(max(low) < min(high) for low, high in pairwise(read))
    assert [bucket_of("f" * 32, count) for count in (1, 7, 65536)] == [0, 6, 65535]


def test_damaged_work_is_done_again(tmp_path: Path) -> None:
    with BucketWriter(tmp_path, buckets=1) as writer:
        writer.add(0, b"record\n" * 1000)
    content = (tmp_path / FRAMES).read_bytes()
    for damaged in (content[:-5], content[:20] + bytes([content[20] ^ 1]) + content[21:]):
        (tmp_path / FRAMES).write_bytes(damaged)
        with pytest.raises(RetryError, match=r"buckets\.zst is damaged: .*; run the same command again"):
            list(read_frames([tmp_path], 0))
