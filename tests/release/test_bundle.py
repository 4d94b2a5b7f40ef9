import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from core.artifact import current
from core.journal import read_journal
from release.contents import open_bundle
from release.manifest import manifest_root
from release.openness.facts import WORDS_PATH
from tests.release.conftest import run_in
from tests.release.openness.made import TEXT

PLACEMENT = ("launch.ranks=5", "train.placement=fsdp2", "data.workers=2", "sources.cache=elsewhere")


@pytest.fixture
def elsewhere(runs: Path, tmp_path: Path) -> Path:
    """The run's artifacts in another folder, without its bundle."""
    copy = Path(shutil.copytree(runs, tmp_path / "elsewhere"))
    shutil.rmtree(current(copy, "bundle").folder)
    (copy / "bundle.json").unlink()
    return copy


def facts(folder: Path) -> dict[str, Any]:
    return current(folder, "bundle").facts


def test_another_journal_folder_and_placement_give_the_same_root_and_artifact(
    checkout: Path, recipe: Path, runs: Path, elsewhere: Path
) -> None:
    journal = current(elsewhere, "train").folder / "witness/journal-rank0.jsonl"
    journal.write_text('{"time": 1.5, "event": "run.resumed", "rank": 0, "generation": 7, "host": "b"}\n')
    done = run_in(checkout, "release", "build", recipe, f"run.out={elsewhere}", *PLACEMENT)
    assert done.returncode == 0, done.stderr
    assert facts(elsewhere) == facts(runs)
    assert current(elsewhere, "bundle").digest == current(runs, "bundle").digest
    witness = [manifest_root(current(out, "bundle").folder / "tiny/witness") for out in (elsewhere, runs)]
    assert witness[0] != witness[1]


def test_the_name_and_what_is_shipped_decide_the_root(
    checkout: Path, recipe: Path, runs: Path, elsewhere: Path
) -> None:
    roots = [facts(runs)["root"]]
    words = elsewhere / "words.md"
    words.write_text(TEXT)
    for change in (
        "run.name=other",
        "release.checkpoint_every_steps=8",
        "release.license=MIT",
        f"release.words={words}",
    ):
        done = run_in(checkout, "release", "build", recipe, f"run.out={elsewhere}", change)
        assert done.returncode == 0, done.stderr
        roots.append(facts(elsewhere)["root"])
    assert len(set(roots)) == 5
    assert (current(elsewhere, "bundle").folder / "tiny" / WORDS_PATH).read_text() == TEXT


def test_checkpoints_between_the_asked_steps_are_left_out(checkout: Path, recipe: Path, elsewhere: Path) -> None:
    every = "release.checkpoint_every_steps=8"
    run_in(checkout, "release", "build", recipe, f"run.out={elsewhere}", every)
    folder = current(elsewhere, "bundle").folder / "tiny/checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-000008", "step-000012"]


def test_an_uncommitted_page_changes_the_root_and_code_that_did_not_run_is_refused(
    checkout: Path, recipe: Path, runs: Path, elsewhere: Path, tmp_path: Path
) -> None:
    code = Path(shutil.copytree(checkout, tmp_path / "code"))
    (code / "docs/new.md").write_text("A page.\n")
    done = run_in(code, "release", "build", recipe, f"run.out={elsewhere}")
    assert done.returncode == 0, done.stderr
    assert facts(elsewhere)["root"] != facts(runs)["root"]
    with (code / "data/loader.py").open("a") as stream:
        stream.write("# changed after the run\n")
    done = run_in(code, "release", "build", recipe, f"run.out={elsewhere}")
    assert done.returncode == 66
    assert "was made by other code than the checkout's" in done.stderr


def test_nothing_under_the_root_names_a_path_of_this_machine(released: Path, recipe: Path) -> None:
    needle = str(recipe.parent).encode()
    named = [path for path in released.rglob("*") if path.is_file() and needle in path.read_bytes()]
    assert named == []


def test_the_witness_has_what_every_stage_wrote_without_this_machines_names(released: Path, runs: Path) -> None:
    logs = {path.stem: path.read_text() for path in (released / "witness/stdout").glob("*.log")}
    assert logs.keys() == set(open_bundle(released).stages)
    assert "checkpoint.saved: step 12" in logs["train"] and "RUN/train-" in logs["train"]
    assert not any(name in text for text in logs.values() for name in (str(runs), socket.gethostname()))
    # What was written is kept by the launcher, once, however often the run is repeated.
    assert (runs / "stdout/train.log").read_bytes().count(b"run.finished") == 1


def test_the_witness_numbers_hosts_and_says_what_the_machine_was(released: Path) -> None:
    events = read_journal(released / "witness/train/journal-rank1.jsonl")
    assert {event["host"] for event in events if "host" in event} == {"host 0"}
    hardware = json.loads((released / "witness/hardware.json").read_bytes())
    assert hardware["cores"] >= 1
    assert hardware["memory_bytes"] > 1 << 28
    packages = [json.loads(line) for line in (released / "witness/packages.jsonl").read_text().splitlines()]
    assert "torch" in {package["name"] for package in packages}
