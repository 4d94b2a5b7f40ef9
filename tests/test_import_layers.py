"""The house's law, over every file: who may import whom, what stays free of torch, and that nothing is shadowed.

The table is core.codetree.MAY_IMPORT. Each check is tried on a planted violation too, so that it cannot pass blindly.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from core.codetree import MAY_IMPORT, ROOT

FOLDERS = tuple(name for name in (*MAY_IMPORT, "benchmarks") if (ROOT / name).is_dir())
FILES = tuple(path.relative_to(ROOT).as_posix() for name in FOLDERS for path in sorted((ROOT / name).rglob("*.py")))
DISTRIBUTED = {
    f"train/{name}.py" for name in ("parallel", "fsdp2", "hsdp", "canonical", "runtime", "checkpoint", "dcp")
}
TORCH_FREE_FOLDERS = {"core", "data", "launch", "release"}
MAX_LINES = 400

Imported = tuple[str, bool]


def imports_of(source: str) -> Iterator[Imported]:
    """Every absolute module name that a file imports, also inside functions, and whether at the file's start."""
    tree = ast.parse(source)
    at_start = set(_at_start(tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole path of the module"
            yield from ((f"{node.module}.{alias.name}", node in at_start) for alias in node.names)


def _at_start(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _at_start(getattr(node, inner, []))


def broken_laws(path: str, source: str) -> list[str]:
    """What a file at `path` breaks."""
    folder = path.partition("/")[0]
    laws = []
    for module, is_at_start in imports_of(source):
        top = module.partition(".")[0]
        if folder != "benchmarks" and (top == "benchmarks" or top == "tests"):
            laws.append(f"imports {module}, which nobody may")
        if top in MAY_IMPORT and top != folder and folder in MAY_IMPORT and top not in MAY_IMPORT[folder]:
            laws.append(f"imports {module}; {folder} may import {MAY_IMPORT[folder]}")
        is_free = folder in TORCH_FREE_FOLDERS or Path(path).name in ("config.py", "__main__.py")
        if top == "torch" and (folder in TORCH_FREE_FOLDERS or (is_free and is_at_start)):
            laws.append(f"imports {module}; it must start without torch")
        if module.startswith("torch.distributed") and folder != "benchmarks" and path not in DISTRIBUTED:
            laws.append(f"imports {module}; only {sorted(DISTRIBUTED)} may")
        if folder == "core" and top not in (*sys.stdlib_module_names, "core", "hydra", "omegaconf", "yaml"):
            laws.append(f"imports {module}; core has the standard library and hydra only")
    laws += ["uses torch.distributed"] if path not in DISTRIBUTED and _names_distributed(source) else []
    if Path(path).name == "__init__.py" and not _is_one_docstring(source):
        laws.append("holds more or less than one docstring")
    if source.count("\n") > MAX_LINES:
        laws.append(f"has {source.count(chr(10))} lines, more than {MAX_LINES}")
    return laws


def _names_distributed(source: str) -> bool:
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    return any(ast.unparse(node) == "torch.distributed" for node in nodes)


def _is_one_docstring(source: str) -> bool:
    tree = ast.parse(source)
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


@pytest.mark.parametrize("path", FILES)
def test_a_file_keeps_the_law(path: str) -> None:
    assert broken_laws(path, (ROOT / path).read_text(encoding="utf-8")) == []


PLANTED = [
    ("launch/x.py", "import train.loop", "launch may import"),
    ("launch/x.py", "from data import loader", "launch may import"),
    ("core/x.py", "import model", "core may import"),
    ("model/x.py", "def f():\n    from train.loop import run", "model may import"),
    ("inference/x.py", "from train.checkpoint import load", "inference may import"),
    ("data/x.py", "import torch", "without torch"),
    ("release/x.py", "def f():\n    from torch import nn", "without torch"),
    ("train/config.py", "import torch", "without torch"),
    ("train/config.py", "try:\n    from torch import nn\nexcept ImportError:\n    pass", "without torch"),
    ("train/__main__.py", "import torch", "without torch"),
    ("train/loop.py", "from torch import distributed", "only"),
    ("train/loop.py", "import torch.distributed as dist", "only"),
    ("train/loop.py", "import torch\ntorch.distributed.barrier()", "uses torch.distributed"),
    ("model/x.py", "from torch.distributed.tensor import DTensor", "only"),
    ("core/x.py", "import numpy", "standard library"),
    ("train/x.py", "import benchmarks.speed", "nobody may"),
    ("train/x.py", "from tests.conftest import write_recipe", "nobody may"),
    ("train/__init__.py", '"""Words."""\nX = 1', "one docstring"),
    ("train/__init__.py", "", "one docstring"),
    ("train/x.py", "\n" * 401, "more than 400"),
]
ALLOWED = [
    ("train/x.py", "from data.loader import Loader\nfrom model.transformer import Transformer"),
    ("train/runtime.py", "import torch\nimport torch.distributed as dist\ntorch.distributed.barrier()"),
    ("train/config.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
    ("benchmarks/x.py", "import train.loop, torch.distributed, release.bundle"),
    ("data/x.py", "import numpy"),
]


@pytest.mark.parametrize(("path", "source", "law"), PLANTED)
def test_a_planted_violation_is_found(path: str, source: str, law: str) -> None:
    assert any(law in broken for broken in broken_laws(path, source))


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert broken_laws(path, source) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="whole path"):
        list(imports_of("from . import loop"))


def loaded_by(modules: list[str]) -> set[str]:
    """The top-level modules that a fresh process has loaded after it imported `modules`."""
    source = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    command = [sys.executable, "-c", source, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_what_must_start_without_torch_does() -> None:
    free = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in FILES
        if path.partition("/")[0] in TORCH_FREE_FOLDERS or Path(path).name in ("config.py", "__main__.py", "check.py")
    ]
    assert "train.config" in free and "release.__main__" in free
    loaded = loaded_by(free)
    assert "launch" in loaded and "torch" not in loaded


def test_core_and_launch_start_without_numpy_and_without_hydra() -> None:
    names = [path.removesuffix(".py").replace("/", ".") for path in FILES if path.split("/")[0] in ("core", "launch")]
    assert not loaded_by([name.removesuffix(".__init__") for name in names]) & {"numpy", "torch", "hydra", "omegaconf"}


def test_the_look_at_loaded_modules_can_see_torch() -> None:
    assert "numpy" in loaded_by(["numpy"])


def test_every_folder_of_the_checkout_that_holds_code_has_its_place_in_the_table() -> None:
    held = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert held - {"benchmarks", "tests"} <= set(MAY_IMPORT)


def test_no_installed_distribution_owns_our_names() -> None:
    owned = packages_distributions()
    assert "pytest" in owned
    assert {name: owned[name] for name in (*MAY_IMPORT, "conf", "tests", "benchmarks") if name in owned} == {}


def test_git_ignores_no_first_party_file() -> None:
    tests = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    conf = [path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")]
    assert ignored([*FILES, *tests, *conf]) == []
    assert ignored(["runs/smoke/recipe.yaml"]) == ["runs/smoke/recipe.yaml"]


def ignored(paths: list[str]) -> list[str]:
    """Those of the paths that git would not track."""
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(paths), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.split()
