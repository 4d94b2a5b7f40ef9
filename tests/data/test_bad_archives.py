"""Archives whose content is bad or hostile, through the real verbs and a small package index."""

import io
import random
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import DataError
from data.reading.archive import read_members
from tests.data.index import Index, Members, make_sdist, make_wheel, serving
from tests.data.packed import gzipped
from tests.data.verbs import TEXTS, TXT, refused, run, texts_of


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


def archive_recipe(folder: Path, index: Index, name: str, content: bytes) -> Path:
    """A recipe over one archive from the index, whose member a.txt is text."""
    index.reset()
    sha256 = index.add(name, content)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  items:
    - {{name: a, kind: pypi, package: corpus, version: '1.0', file: {name}, sha256: {sha256}, license: CC0-1.0,
       language: en, evidence: ['*COPYING'], read: {{members: ['*.txt']}}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0}}
""",
        encoding="utf-8",
    )
    return recipe


SDIST, WHEEL = "corpus-1.0.tar.gz", "corpus-1.0-py3-none-any.whl"
MEMBERS: Members = {"c/a.txt": TXT, "c/COPYING": "free"}


def changed(content: bytes, marks: bytes, offset: int, value: bytes) -> bytes:
    """A zip with other bytes at an offset behind each of its marks (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
    changed = bytearray(content)
    at = content.find(marks)
    while at >= 0:
        changed[at + offset : at + offset + len(value)] = value
        at = content.find(marks, at + 1)
    return bytes(changed)


ENTRY = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
ARCHIVES: list[tuple[str, bytes, str]] = [
    (WHEEL, make_wheel({}), "has no member that matches"),
    (SDIST, make_sdist({}), "has no member that matches"),
    (WHEEL, b"", "damaged archive"),
    (SDIST, gzipped(b""), "damaged archive|has no member that matches"),
    (WHEEL, changed(changed(make_wheel(MEMBERS), ENTRY, 8, b"\1"), LOCAL, 6, b"\1"), "damaged archive: .*encrypted"),
    (WHEEL, changed(make_wheel(MEMBERS), ENTRY, 10, b"\x63"), "damaged archive: .*compression"),
    (
        WHEEL,
        changed(make_wheel({**MEMBERS, "c/b.txt": TXT}), ENTRY, 24, struct.pack("<I", 0xFFFFFFFE)),
        "more than 4,294,967,296 bytes unpacked",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), ARCHIVES)
def test_a_bad_archive_is_one_clear_line_and_the_run_after_the_mend_succeeds(
    name: str, content: bytes, message: str, index: Index, tmp_path: Path
) -> None:
    assert re.search(message, refused(archive_recipe(tmp_path, index, name, content)))
    assert not list((tmp_path / "runs").glob("fetch*"))
    sound = make_wheel(MEMBERS) if name == WHEEL else make_sdist(MEMBERS)
    assert run(archive_recipe(tmp_path, index, name, sound))["train"]["documents"] == len(TEXTS)


@pytest.mark.parametrize(("name", "make"), [(SDIST, make_sdist), (WHEEL, make_wheel)])
def test_members_with_hostile_names_are_read_and_never_written(
    name: str, make: Callable[[Members], bytes], index: Index, tmp_path: Path
) -> None:
    names = ["../../escaped.txt", "/etc/escaped.txt", "c/two\nlines.txt", "c/汉字.txt"]
    texts = {member: f"This text stands under a name of its own, number {n}." for n, member in enumerate(names)}
    recipe = archive_recipe(tmp_path, index, name, make({**texts, "c/COPYING": "free"}))
    assert run(recipe)["train"]["documents"] == len(names)
    assert texts_of(recipe) == set(texts.values())
    assert not list(tmp_path.rglob("*escaped*"))


def test_two_members_of_one_name_are_two_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", "two")
    assert sorted(read_members(path, ["*"])) == [("a.txt", b"one"), ("a.txt", b"two")]


def test_no_change_of_bytes_in_an_archive_ends_in_a_traceback(tmp_path: Path) -> None:
    source = random.Random(5)
    members = {f"d/{number}é.txt": text * 9 for number, text in enumerate(TEXTS[:4])}
    linked = io.BytesIO()
    with tarfile.open(fileobj=linked, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text.encode()), 1.5
            archive.addfile(info, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("d/link.txt")
        link.type, link.linkname = tarfile.LNKTYPE, next(iter(members))
        archive.addfile(link)
    outcomes = {"refused": 0, "read": 0}
    for content in (make_wheel(members), linked.getvalue()) * 400:
        damaged = bytearray(content)
        for _ in range(3):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            list(read_members(tmp_path / "a", ["*"]))
            outcomes["read"] += 1
        except DataError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 300
