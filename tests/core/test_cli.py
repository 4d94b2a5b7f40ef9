"""The command line: one line and the right exit code, whatever goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.errors import ConfigError
from core.notes import FOLDER, read_notes
from tests.conftest import run_module

PROGRAM = """
import multiprocessing, sys, types
from core import errors
from core.cli import Verb, main

def fail(arguments):
    raise getattr(errors, arguments[0])("what was found, where, what to do")
def crash(arguments):
    return 1 // 0
def wait(arguments):
    print("waiting", flush=True)
    sys.stdin.read()
def flood(arguments):
    while True:
        print("more")
def lose_a_worker(arguments):
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    ours.send("work")
module = types.ModuleType("fake")
module.fail, module.crash, module.wait, module.say = fail, crash, wait, lambda arguments: print(*arguments)
module.flood, module.lose = flood, lose_a_worker
sys.modules["fake"] = module
main("fake", {name: Verb(f"fake:{name}", f"to {name}") for name in ("fail", "crash", "wait", "say", "flood", "lose")})
"""


def run_program(*arguments: str, notes: Path | None = None) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **({FOLDER: str(notes)} if notes else {})}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *(("ProjectError", 1), ("ConfigError", 64), ("DeterministicError", 65)),
        *(("DataError", 66), ("RetryError", 75), ("Preempted", 143)),
    ],
)
def test_every_error_is_one_line_its_exit_code_and_a_note(tmp_path: Path, error: str, code: int) -> None:
    done = run_program("fail", error, notes=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "error: what was found, where, what to do\n"
    note = read_notes(tmp_path, "exit")[0]
    assert (note["exit_code"], note["message"]) == (code, "what was found, where, what to do")


def test_a_reader_that_has_had_enough_ends_a_verb_in_peace() -> None:
    command = f"{sys.executable} -c '{PROGRAM.replace(chr(39), chr(34))}' flood | head -n 2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "more\nmore\n", "")


def test_a_broken_pipe_to_anybody_else_is_no_success() -> None:
    done = run_program("lose")
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


def test_our_own_bug_keeps_its_traceback_and_leaves_no_note(tmp_path: Path) -> None:
    done = run_program("crash", notes=tmp_path)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert read_notes(tmp_path, "exit") == {}


def test_a_verb_gets_what_follows_it_and_leaves_a_note_when_done(tmp_path: Path) -> None:
    done = run_program("say", "a", "b=c", notes=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b=c\n", "")
    assert read_notes(tmp_path, "exit")[0]["exit_code"] == 0


def test_an_unknown_verb_is_refused_with_those_there_are() -> None:
    done = run_program("sya")
    assert done.returncode == 64
    assert done.stderr == "error: python -m fake has no verb 'sya'; it has fail, crash, wait, say, flood, lose\n"


def test_help_lists_the_verbs() -> None:
    for argument in ("--help", "-h", "help"):
        assert "  crash  to crash" in run_program(argument).stdout


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGTERM, 143, "error: stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_ends_a_verb_with_one_line(number: int, code: int, line: str) -> None:
    command = [sys.executable, "-c", PROGRAM, "wait"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert stderr.startswith(line) and stderr.count("\n") == 1


def test_a_recipe_comes_first_and_overrides_follow() -> None:
    assert recipe_and_overrides(["smoke", "a.b=1", "c.d=x=y"], "usage") == ("smoke", ["a.b=1", "c.d=x=y"])
    for wrong in ([], ["a.b=1"], ["--fast", "smoke"], ["smoke", "fast"]):
        with pytest.raises(ConfigError, match="usage: python -m x RECIPE"):
            recipe_and_overrides(wrong, "python -m x")


def test_foreign_code_under_our_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}", "say"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 64
    assert f"folder data would be imported from {tmp_path}/data, not from {ROOT}" in done.stderr


def test_the_launcher_lists_its_verbs() -> None:
    done = run_module("launch", "--help")
    assert done.returncode == 0 and "run " in done.stdout


def test_a_reader_that_has_had_enough_ends_a_verb_without_a_word(tmp_path: Path) -> None:
    command = f"{sys.executable} -m train fingerprint smoke | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
