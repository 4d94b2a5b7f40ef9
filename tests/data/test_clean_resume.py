"""Stage clean under kill -9, a changed configuration and a full disk: real processes, real signals, a real tmpfs."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from core.artifact import current
from core.cli import main as cli_main
from data.__main__ import VERBS
from data.sources.fetch import main as fetch_main
from tests.conftest import write_recipe
from tests.cuts import Cut, arm
from tests.data.cleaned import clean, sentence, write_files

KILLS = 24
DEADLINE_S = 120
EVERYTHING = [
    "clean.lines.is_on=true",
    "clean.fuzzy.is_on=true",
    "clean.part_bytes=4000",
    "clean.shards=3",
    "data.keep_dropped=true",
]
# Processes start from one that has imported what they need: a start in milliseconds makes room for many kills.
STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(["data.clean", "data.executors.local", "tests.data.test_clean_resume"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fetched recipe over texts of which every step drops some."""
    recipe = write_recipe(tmp_path_factory.mktemp("resume"))
    menu = "Home | Products | About us | Contact | Imprint | Legal notice"
    alpha = [sentence(n) for n in range(80)] + [f"{menu}\n{sentence(n)}" for n in range(100, 120)] + ["short"] * 9
    beta = [sentence(n).replace("filter", "sieve") for n in range(60, 140)]
    write_files(recipe, alpha, beta)
    fetch_main([str(recipe)])
    return recipe


def arguments(recipe: Path, out: Path, *overrides: str) -> list[str]:
    return ["clean", str(recipe), f"run.inputs={recipe.parent / 'runs'}", f"run.out={out}", *overrides]


def run_verb(command: list[str], log: Path, cut: Cut | None) -> None:
    """What a process does: the command line, its output in a file."""
    if cut:
        arm(cut)
    with log.open("w") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    sys.argv = ["data", *command]
    cli_main("data", VERBS)


def started(command: list[str], log: Path, cut: Cut | None = None) -> BaseProcess:
    process = STARTER.Process(target=run_verb, args=(command, log, cut))
    process.start()
    return process


def children_of(process: BaseProcess) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def kill_one_of(process: BaseProcess, source: random.Random) -> None:
    """Kill a process or one of its workers, unless it ends in this moment."""
    victim = source.choice([process.pid or 0, *children_of(process)])
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)


def wait_for_tasks(process: BaseProcess, out: Path, count: int) -> None:
    """Until that many tasks are done, or the process has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while process.is_alive() and len(done_tasks(out)) < count:
        assert time.monotonic() < deadline
        process.join(0.005)


def done_tasks(out: Path) -> dict[Path, tuple[int, int]]:
    """The finished tasks of an unfinished run, with what would change if one were done again."""
    found = {}
    for path in out.glob(".clean-*.part/.work/*/[0-9]*/done.json"):
        # It is gone if the run ends in this moment.
        with suppress(FileNotFoundError):
            found[path] = path.stat()
    return {path: (told.st_ino, told.st_mtime_ns) for path, told in found.items()}


def is_put_in_place(out: Path) -> bool:
    """Whether all tasks are done and their work may go."""
    return any(out.glob(".clean-*.part/witness/clean.json"))


def test_kills_at_random_moments_end_in_the_same_digest_and_no_finished_task_is_done_again(
    prepared: Path, tmp_path: Path
) -> None:
    calm = clean(prepared, tmp_path / "calm", *EVERYTHING)
    out, log = tmp_path / "out", tmp_path / "log"
    source = random.Random(os.urandom(8))
    kills = finished = kept = 0
    while kills < KILLS or not finished:
        workers = 2 if kills % 6 == 5 else 1
        before = done_tasks(out)
        process = started(arguments(prepared, out, *EVERYTHING, f"data.workers={workers}"), log)
        if kills < KILLS:
            wait_for_tasks(process, out, len(before) + source.randrange(4))
            process.join(source.uniform(0, 0.05))
            if process.is_alive():
                kill_one_of(process, source)
                kills += 1
        process.join(DEADLINE_S)
        assert process.exitcode in (0, 75, -signal.SIGKILL), log.read_text()
        if process.exitcode == 0:
            assert current(out, "clean").digest == calm.digest
            finished += 1
            shutil.rmtree(out)
        elif not is_put_in_place(out):
            after = done_tasks(out)
            assert before.items() <= after.items()
            assert not list(out.glob("clean*"))
            kept += len(before)
    assert kept > KILLS  # else nothing was ever gone on with


def test_a_kill_between_the_end_of_the_work_and_the_artifacts_name_costs_nothing(
    prepared: Path, tmp_path: Path
) -> None:
    calm = clean(prepared, tmp_path, *EVERYTHING)
    (tmp_path / "clean.json").unlink()
    (calm.folder / "artifact.json").unlink()
    aside = calm.folder.rename(tmp_path / f".{calm.folder.name}.part")
    assert not (aside / ".work").exists()
    assert clean(prepared, tmp_path, *EVERYTHING).digest == calm.digest


def killed_in_the_middle(recipe: Path, out: Path) -> Path:
    """The unfinished folder of a run that was killed when its documents were settled and none was written."""
    process = started(arguments(recipe, out, *EVERYTHING), out.parent / "log", Cut(text="-write/", count=1))
    process.join(DEADLINE_S)
    assert process.exitcode == -signal.SIGKILL, (out.parent / "log").read_text()
    (aside,) = out.glob(".clean-*.part")
    return aside


def test_work_of_another_configuration_is_never_kept(prepared: Path, tmp_path: Path) -> None:
    stricter = "clean.filters.refused={seven: 'number .*7 '}"
    expected = clean(prepared, tmp_path / "expected", *EVERYTHING, stricter)
    assert expected.digest != clean(prepared, tmp_path / "other", *EVERYTHING).digest
    out = tmp_path / "out"
    aside = killed_in_the_middle(prepared, out)
    before = done_tasks(out)
    # As if the keys of both, of which a folder's name has 48 bits, began alike.
    aside.rename(out / f".{expected.folder.name}.part")
    assert clean(prepared, out, *EVERYTHING, stricter).digest == expected.digest
    assert before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of memory, of 100 KB at first."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, size_kb: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_kb}k", str(folder)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_nothing_half_written_and_room_lets_it_go_on(
    prepared: Path, tmp_path: Path, small_disk: Path, workers: int
) -> None:
    calm = clean(prepared, tmp_path / "calm", *EVERYTHING)
    out, log = small_disk / "runs", tmp_path / "log"
    command = arguments(prepared, out, *EVERYTHING, f"data.workers={workers}")
    failed = 0
    for size_kb in range(100, 6000, 250 * workers):
        resize(small_disk, size_kb)
        before = done_tasks(out)
        process = started(command, log)
        process.join(DEADLINE_S)
        if process.exitcode == 0:
            break
        told = [line for line in log.read_text().splitlines() if " tasks, " not in line]
        assert process.exitcode == 75, log.read_text()
        assert len(told) == 1 and "no space is left" in told[0] and "free some and run it again" in told[0]
        assert not list(out.glob("clean*"))
        assert before.items() <= done_tasks(out).items()
        failed += 1
    assert failed >= 2
    assert current(out, "clean").digest == calm.digest
    assert not list(out.glob(".clean-*.part"))
