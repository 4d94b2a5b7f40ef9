import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.artifact import Artifact, current
from core.codetree import ROOT
from core.config import load
from core.errors import ConfigError, DataError
from data.sources.config import KINDS, Kind, SourcesConfig
from data.sources.fetch import main, open_sources
from data.sources.pin import main as pin_main
from tests.conftest import run_module
from tests.data.index import Index, make_sdist, make_wheel, serving

SDIST = "corpus-1.0.tar.gz"
WHEEL = "corpus-2.0-py3-none-any.whl"
TEXT = "".join(f"paragraph {number} of a corpus on a local index\n\n" for number in range(400))
TRAP = "import pathlib; pathlib.Path('set-up-code-ran').touch(); raise SystemExit(1)"


@pytest.fixture(scope="module")
def server() -> Iterator[Index]:
    """One index for all tests here: asking pip for its settings costs half a second."""
    with serving() as index:
        yield index


@pytest.fixture
def index(server: Index) -> Index:
    """An index with a source archive, whose set-up code is a trap, and a wheel."""
    server.reset()
    server.add(SDIST, make_sdist({"corpus-1.0/setup.py": TRAP, "corpus-1.0/a.txt": TEXT, "corpus-1.0/COPYING": "free"}))
    server.add(WHEEL, make_wheel({"c/en.txt": TEXT, "c/fr.txt": TEXT.upper(), "c-2.0.dist-info/LICENSE": "free"}))
    return server


def write_recipe(folder: Path, index: Index, *, sha256: str = "") -> Path:
    """A recipe of three sources from the index, two of them from one file."""
    both = f"kind: pypi, package: corpus, version: '2.0', file: {WHEEL}, sha256: {index.listed_sha256[WHEEL]}"
    path = folder / "recipe.yaml"
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  items:
    - {{name: old, kind: pypi, package: corpus, version: '1.0', file: {SDIST}, license: CC0-1.0, language: en,
       sha256: {sha256 or index.listed_sha256[SDIST]}, evidence: ['*/COPYING'], read: {{members: ['*/a.txt']}}}}
    - {{name: new-en, {both}, license: CC0-1.0, language: en, evidence: ['*/LICENSE'], read: {{members: [c/en.txt]}}}}
    - {{name: new-fr, {both}, license: CC0-1.0, language: fr, evidence: ['*/LICENSE'], read: {{members: [c/fr.txt]}}}}
""",
        encoding="utf-8",
    )
    return path


def fetch(recipe: Path, *overrides: str) -> Artifact:
    main([str(recipe), *overrides])
    return current(recipe.parent / "runs", "fetch")


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_archives_and_evidence_are_kept_with_their_hashes(index: Index, tmp_path: Path) -> None:
    artifact = fetch(write_recipe(tmp_path, index))
    assert [entry["path"] for entry in artifact.record["files"]] == [
        f"archives/new-en/{WHEEL}",
        f"archives/new-fr/{WHEEL}",
        f"archives/old/{SDIST}",
        "evidence/new-en/c-2.0.dist-info/LICENSE",
        "evidence/new-fr/c-2.0.dist-info/LICENSE",
        "evidence/old/corpus-1.0/COPYING",
        "sources.json",
    ]
    hashes = {entry["path"]: entry["sha256"] for entry in artifact.record["files"]}
    for record in json.loads((artifact.folder / "sources.json").read_bytes()):
        assert record["sha256"] == index.listed_sha256[record["file"]]
        assert [(entry["path"], entry["sha256"]) for entry in record["evidence"]] == [
            (path, sha256) for path, sha256 in hashes.items() if path.startswith(f"evidence/{record['name']}/")
        ]


def test_one_file_of_several_sources_comes_and_lies_there_once_and_no_set_up_code_runs(
    index: Index, tmp_path: Path
) -> None:
    finished = run_module("data", "fetch", write_recipe(tmp_path, index))
    assert finished.returncode == 0, finished.stderr
    assert index.asked == {"/simple/corpus/": 2, f"/files/{SDIST}": 1, f"/files/{WHEEL}": 1}
    assert not (ROOT / "set-up-code-ran").exists()
    assert finished.stdout.strip() == str(current(tmp_path / "runs", "fetch").folder)
    folder = current(tmp_path / "runs", "fetch").folder
    english, french = (folder / f"archives/new-{language}/{WHEEL}" for language in ("en", "fr"))
    assert english.samefile(french)


def test_the_cache_serves_a_changed_recipe_without_network(index: Index, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, index)
    first = fetch(recipe)
    index.files.clear()
    second = fetch(recipe, "sources.items.0.license=MIT")
    assert second.digest != first.digest
    assert files_below(second.folder / "archives") == files_below(first.folder / "archives")


def test_a_damaged_file_in_the_cache_is_fetched_again(index: Index, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, index)
    first = fetch(recipe)
    shutil.rmtree(tmp_path / "runs")
    cached = tmp_path / "cache" / f"{index.listed_sha256[WHEEL]}-{WHEEL}"
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    assert fetch(recipe).digest == first.digest
    assert index.asked[f"/files/{WHEEL}"] == 2
    assert index.asked[f"/files/{SDIST}"] == 1


def test_a_wrong_hash_ends_in_one_line_and_exit_66_with_nothing_half_written(index: Index, tmp_path: Path) -> None:
    finished = run_module("data", "fetch", write_recipe(tmp_path, index, sha256="1" * 64))
    assert finished.returncode == 66
    assert finished.stderr.startswith(f"error: source old: the index lists {SDIST}")
    assert finished.stderr.count("\n") == 1
    assert files_below(tmp_path / "cache") == []
    assert not list((tmp_path / "runs").glob("fetch*"))


def test_a_corrupt_archive_is_bad_data_even_with_the_hash_of_the_recipe(index: Index, tmp_path: Path) -> None:
    index.add(SDIST, index.files[SDIST][:-20])
    with pytest.raises(DataError, match="damaged archive"):
        fetch(write_recipe(tmp_path, index))
    assert not list((tmp_path / "runs").glob("fetch*"))


def test_evidence_cannot_be_written_outside_of_the_artifact(index: Index, tmp_path: Path) -> None:
    index.add(SDIST, make_sdist({"../../../escaped/COPYING": "x", "corpus-1.0/a.txt": TEXT}))
    with pytest.raises(DataError, match="do not trust this archive"):
        fetch(write_recipe(tmp_path, index))
    assert not (tmp_path / "escaped").exists()


def test_a_kill_in_mid_download_leaves_nothing_and_the_rerun_ends_in_the_same_digest(
    index: Index, tmp_path: Path
) -> None:
    (tmp_path / "calm").mkdir()
    calm = fetch(write_recipe(tmp_path / "calm", index))
    recipe = write_recipe(tmp_path, index)
    index.is_stalling = True
    process = subprocess.Popen(
        [sys.executable, "-m", "data", "fetch", str(recipe)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    assert index.has_stalled.wait(timeout=120)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    index.is_stalling = False
    assert not list((tmp_path / "runs").glob("fetch*"))
    assert all(name.startswith(".") for name in files_below(tmp_path / "cache"))
    assert fetch(recipe).digest == calm.digest


def test_where_files_lie_is_placement_and_what_they_hold_is_not(tiny_recipe: Path, tmp_path: Path) -> None:
    first = fetch(tiny_recipe)
    shutil.copytree(tmp_path / "corpus", tmp_path / "elsewhere")
    moved = fetch(
        tiny_recipe,
        *(f"sources.items.{i}.path={tmp_path}/elsewhere/{n}" for i, n in ((0, "alpha.jsonl"), (1, "beta.txt"))),
    )
    assert moved.digest == first.digest
    with (tmp_path / "corpus" / "beta.txt").open("a", encoding="utf-8") as stream:
        stream.write("\n\none more\n")
    changed = fetch(tiny_recipe)
    assert changed.digest != first.digest
    assert changed.folder != first.folder


def test_a_glob_takes_all_its_files_and_evidence_lies_beside_them(tiny_recipe: Path, tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/ignored.md", "LICENSE"):
        (tmp_path / "many" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "many" / name).write_text(name, encoding="utf-8")
    artifact = fetch(
        tiny_recipe, f"sources.items.1.path={tmp_path}/many/**/*.txt", "sources.items.1.evidence=[LICENSE]"
    )
    assert files_below(artifact.folder / "archives" / "beta") == ["a/1.txt", "b/2.txt"]
    assert files_below(artifact.folder / "evidence" / "beta") == ["LICENSE"]
    source = open_sources(artifact.folder)[1]
    assert [name for name, _ in source.files] == ["a/1.txt", "b/2.txt"]


@pytest.mark.parametrize("name", ["witness/1.txt", ".1.part"])
def test_a_file_that_the_artifact_would_lose_is_refused(tiny_recipe: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "many" / name).parent.mkdir(parents=True)
    (tmp_path / "many" / name).write_text(name, encoding="utf-8")
    with pytest.raises(DataError, match=rf"source beta: '{name}' has a name that artifacts keep for themselves"):
        fetch(tiny_recipe, f"sources.items.1.path={tmp_path}/many/**/*1.*")


def test_missing_hashes_of_packages_and_files_are_printed_and_make_the_recipe_whole(
    index: Index, tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, index)
    wanted = index.listed_sha256[SDIST]
    recipe.write_text(recipe.read_text().replace(wanted, "''"))
    with pytest.raises(ConfigError, match="source old of kind pypi lacks sha256"):
        fetch(recipe)
    pin_main([str(recipe)])
    pins = capsys.readouterr().out.split()
    hashes = [wanted, *[index.listed_sha256[WHEEL]] * 2]
    assert pins == [f"sources.items.{number}.sha256={sha256}" for number, sha256 in enumerate(hashes)]
    index.files.clear()
    fetch(recipe, *pins)
    pin_main([str(tiny_recipe)])
    pins = capsys.readouterr().out.split()[-2:]
    assert [pin.split("=")[0] for pin in pins] == ["sources.items.0.sha256", "sources.items.1.sha256"]
    fetch(tiny_recipe, *pins)


def test_a_check_loads_nothing_that_only_a_download_needs() -> None:
    heavy = {"requests", "pypi_simple", "urllib3", "fsspec", "pyarrow", "datasets", "huggingface_hub"}
    program = f"import sys; from data.check import main; main(['smoke']); print(sorted(sys.modules.keys() & {heavy}))"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.stdout == "[]\n", finished.stderr


def test_every_kind_has_what_knows_it() -> None:
    assert set(KINDS) == set(Kind)


def test_a_pinned_file_must_be_what_its_hash_says(tiny_recipe: Path) -> None:
    with pytest.raises(DataError, match="the recipe wants SHA-256 2222"):
        fetch(tiny_recipe, f"sources.items.0.sha256={'2' * 64}")


def test_a_missing_file_is_bad_data(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="source beta: no file matches"):
        fetch(tiny_recipe, f"sources.items.1.path={tmp_path}/none.txt")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.items.1.name=alpha", "given twice"),
        ("sources.items.1.name=../beta", "rename the source"),
        ("sources.items.1.name=witness", "artifacts keep for themselves"),
        ("sources.items.1.kind=torrent", "torrent"),
        ("sources.items.1.kind=pypi", r"lacks package, version, file, read\.members"),
        ("sources.items.1.license='free!'", "not an SPDX expression"),
        ("sources.items.1.sha256=abc", "64 lower-case hex digits"),
        ("sources.items=[]", "is empty"),
        ("sources.attempts=0", "at least 1"),
        ("sources.items.1.read={splitt: whole}", "splitt"),
    ],
)
def test_a_mistake_in_the_section_is_one_clear_line(tiny_recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(str(tiny_recipe), "sources", SourcesConfig, [override])
