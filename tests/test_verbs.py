"""`--help` of every verb of every folder, against the code that reads the arguments."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from core.cli import COMMON, Verb, verb_help
from core.codetree import ROOT
from tests.conftest import run_module

FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__main__.py") if path.parent.name != "benchmarks")
EVERY_VERB = """
import sys
from core.cli import main
from {folder}.__main__ import VERBS
for flag in ("-h", "--help"):
    for name in VERBS:
        sys.argv = ["x", name, flag]
        try:
            main("{folder}", VERBS)
        except SystemExit as ended:
            print("ended with", ended.code)
"""


def verbs_of(folder: str) -> dict[str, Verb]:
    """The verbs of a folder."""
    verbs: dict[str, Verb] = importlib.import_module(f"{folder}.__main__").VERBS
    return verbs


def every_verb() -> list[tuple[str, str]]:
    """Folder and name of every verb."""
    return [(folder, name) for folder in FOLDERS for name in verbs_of(folder)]


def flags(value: object) -> Iterator[str]:
    """The options among a value: itself, or in what it holds."""
    if isinstance(value, str) and value.startswith("--"):
        yield value.rstrip("=")
    elif isinstance(value, tuple | list):
        for item in value:
            yield from flags(item)


def reached(module: ModuleType, name: str) -> Iterator[ast.AST]:
    """Every node of a function, and of the functions of its module that it calls."""
    body = ast.parse(inspect.getsource(module)).body
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    waiting, seen = [name], set()
    while waiting:
        seen.add(name := waiting.pop())
        for node in ast.walk(functions[name]):
            yield node
            if isinstance(node, ast.Name) and node.id in functions.keys() - seen:
                waiting.append(node.id)


def known_options(module: ModuleType, function: str) -> dict[str, object]:
    """The options that a verb's code reads, each with its default where a parser has one."""
    found: dict[str, object] = {}
    for node in reached(module, function):
        if isinstance(node, ast.Name):
            found |= dict.fromkeys(flags(getattr(module, node.id, None)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("take", "parser.add_argument"):
            words = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
            default = next((word.value for word in node.keywords if word.arg == "default"), None)
            value = getattr(module, default.id, None) if isinstance(default, ast.Name) else None
            value = default.value if isinstance(default, ast.Constant) else value
            found |= dict.fromkeys(flags(words), value)
    return found


def told_options(verb: Verb) -> set[str]:
    """The options of which a verb's help says what they are."""
    return {word.split()[0].partition("=")[0] for word in verb.options if word.startswith("--")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_help_behind_every_verb_tells_of_it_and_ends_with_0(folder: str) -> None:
    command = [sys.executable, "-c", EVERY_VERB.format(folder=folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    verbs = verbs_of(folder)
    assert (done.returncode, done.stderr) == (0, "")
    told = "".join(f"{verb_help(folder, name, verb)}\nended with 0\n" for name, verb in verbs.items())
    assert done.stdout == told * 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_tells_the_form_of_each_verb(folder: str) -> None:
    lines = run_module(folder, "--help").stdout.splitlines()
    for name, verb in verbs_of(folder).items():
        row = next(index for index, line in enumerate(lines) if line.split()[:1] == [name])
        assert verb.help in lines[row]
        usage = verb_help(folder, name, verb).splitlines()[0]
        assert usage.split()[5:] == (lines[row + 1].split() if verb.form or verb.options else [])


@pytest.mark.parametrize(("folder", "name"), every_verb())
def test_help_has_every_option_that_the_verb_reads_and_no_other(folder: str, name: str) -> None:
    verb = verbs_of(folder)[name]
    module, _, function = verb.target.partition(":")
    known = known_options(importlib.import_module(module), function)
    assert told_options(verb) == set(known)
    usage = verb_help(folder, name, verb).splitlines()[0]
    for word, text in verb.options.items():
        assert word.split()[0] in usage, f"{word} is not in the usage"
        default = known.get(word.split()[0].partition("=")[0])
        if isinstance(default, str | int | float) and default:
            assert f"default {default}" in text, f"{word} says another default than {default}"


@pytest.mark.parametrize(("folder", "name"), every_verb())
def test_help_says_what_every_argument_is(folder: str, name: str) -> None:
    verb = verbs_of(folder)[name]
    for part in verb.form.split():
        if part[0].isupper() and not part.startswith("..."):
            for word in part.split("|"):
                is_value = any(option.startswith("--") and word in option for option in verb.options)
                assert word in COMMON or word in verb.options or is_value, f"{word} is not explained"


def test_the_options_are_found_in_the_code_in_each_of_its_forms() -> None:
    found = {
        (folder, name): known_options(importlib.import_module(target), function)
        for folder, name in every_verb()
        for target, _, function in [verbs_of(folder)[name].target.partition(":")]
    }
    assert set(found["train", "plan"]) == {"--ranks", "--node-ranks", "--memory-gb", "--node-gb", "--json"}
    assert set(found["train", "burn"]) == {"--rounds"}
    assert found["release", "verify"]["--level"] == "V4"
    assert not found["train", "run"]
