"""Verb `fields`: every field that a recipe may have, by section: type, default, and what its dataclass says of it.

Nothing is written here twice: the dataclasses are read as source text, not imported, so no folder needs another. The
section of a dataclass is what a stage gives `core.config.load` with it; what is said of a field is the comment above it
(which may go for the fields that follow, too) and the docstring of its dataclass.
"""

import ast
import difflib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.codetree import ROOT
from core.errors import ConfigError
from launch.check import SECTIONS

LOADED = re.compile(r'\bload\([^,()]+(?:\(\w+\))?, "(\w+)", (\w+)')
# What wraps a default, and what that says of the field.
WRAPPERS = {"placement": "placement", "added": "", "field": ""}


@dataclass(frozen=True, slots=True)
class Field:
    """A field as its dataclass has it; `comment` are the lines above it."""

    name: str
    type: str
    default: str
    kind: str
    comment: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The fields of a dataclass under their path in a recipe, as `train.spikes`, and the dataclass's docstring."""

    path: str
    said: str
    fields: tuple[Field, ...]


def main(arguments: Sequence[str]) -> None:
    """`[SECTION | SECTION.FIELD]`: all sections, one, or what lies below a field."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        raise ConfigError(
            f"{arguments[-1]!r} is not understood; usage: python -m launch fields [SECTION|SECTION.FIELD]"
        )
    sys.stdout.write(told(arguments[0] if arguments else ""))


def told(asked: str) -> str:
    """The fields at or below a path, for people; all of them for an empty path. Raises ConfigError if there is none."""
    section = asked.partition(".")[0]
    if section and section not in SECTIONS:
        raise ConfigError(f"no section {section}; there are {', '.join(SECTIONS)}")
    groups = [group for name in SECTIONS if section in ("", name) for group in groups_of(name)]
    at_or_below = [group for group in groups if not asked or f"{group.path}.".startswith(f"{asked}.")]
    if at_or_below:
        return "\n".join(_as_text(group) for group in at_or_below)
    for group in groups:
        for field in group.fields:
            if f"{group.path}.{field.name}" == asked:
                return _as_text(Group(group.path, group.said, (field,)))
    names = [f"{group.path}.{field.name}" for group in groups for field in group.fields]
    near = difflib.get_close_matches(asked, names, n=1)
    if near:
        raise ConfigError(f"no field {asked}; did you mean {near[0]}? python -m launch fields {section} lists all")
    raise ConfigError(f"no field {asked}; python -m launch fields {section} lists those of section {section}")


def groups_of(section: str) -> list[Group]:
    """The fields of a section, and of the dataclasses inside it, each after the one that holds it."""
    path, name = schema_of(section)
    return list(_groups(section, path, name))


@cache
def schemas() -> dict[str, tuple[Path, str]]:
    """File and name of every section's dataclass: the one that most verbs load it with."""
    found: dict[str, Counter[tuple[Path, str]]] = {}
    for path in sorted(ROOT.glob("*/**/*.py")):
        if path.relative_to(ROOT).parts[0] in ("tests", "benchmarks") or path.relative_to(ROOT).parts[0].startswith(
            "."
        ):
            continue
        for section, name in LOADED.findall(path.read_text(encoding="utf-8")):
            found.setdefault(section, Counter())[_defined(path, name)] += 1
    return {section: counted.most_common(1)[0][0] for section, counted in found.items()}


def schema_of(section: str) -> tuple[Path, str]:
    """File and name of a section's dataclass."""
    return schemas()[section]


def _groups(prefix: str, path: Path, name: str) -> Iterator[Group]:
    node = _classes(path)[name]
    inner = []
    fields = []
    for field, hint in _fields(node, path):
        where, nested = _dataclass(path, hint)
        if nested:
            mark = "[]" if hint.startswith("list[") else ""
            inner.append((f"{prefix}.{field.name}{mark}", where, nested))
        fields.append(field)
    yield Group(prefix, ast.get_docstring(node) or "", tuple(fields))
    for below, where, nested in inner:
        yield from _groups(below, where, nested)


def _fields(node: ast.ClassDef, path: Path) -> Iterator[tuple[Field, str]]:
    """Every field with its type as it is written."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            hint = ast.unparse(one.annotation)
            default, kind = _default(one.value)
            above = one.lineno - 1
            while lines[above - 1].strip().startswith("#"):
                above -= 1
            comment = tuple(line.strip() for line in lines[above : one.lineno - 1]) or _said_of_enum(path, hint)
            yield Field(one.target.id, _type(path, hint), _value(path, hint, default), kind, comment), hint


def _default(value: ast.expr | None) -> tuple[str, str]:
    """What stands behind the sign of equality without its wrapper, and what the wrapper says."""
    if value is None:
        return "", "must be given"
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] not in WRAPPERS:
        return ast.unparse(value), ""
    wrapper = ast.unparse(value.func).rpartition(".")[2]
    named = {word.arg: word.value for word in value.keywords}
    factory = named.get("default_factory")
    inner = value.args[0] if value.args else named.get("default") or factory
    kind = "placement" if "PLACEMENT" in ast.unparse(value) else WRAPPERS[wrapper]
    if inner is None:
        return "", f"must be given, {kind}" if kind else "must be given"
    return ast.unparse(inner.body if isinstance(inner, ast.Lambda) else inner), kind


def _type(path: Path, hint: str) -> str:
    """A type for people: the values of an Enum, or the type as it is written."""
    if _dataclass(path, hint)[1]:
        return "list, below" if hint.startswith("list[") else "below"
    name = hint.removeprefix("list[").removesuffix("]")
    values = "|".join(_members(path, name).values())
    return hint.replace(name, values) if values else hint


def _value(path: Path, hint: str, default: str) -> str:
    """A default as a recipe would write it; empty for a dataclass, whose own fields have theirs."""
    owner, _, member = default.rpartition(".")
    if owner and member in _members(path, owner):
        return _members(path, owner)[member]
    if _dataclass(path, default)[1]:
        return ""
    empty = {"Path": "''", "Path()": "''", "list": "[]", "dict": "{}"}
    return empty.get(default, re.sub(r"^Path\((.+)\)$", r"\1", default))


def _said_of_enum(path: Path, hint: str) -> tuple[str, ...]:
    """What an Enum says of itself, for a field that says nothing."""
    node = _enum(path, hint)
    said = ast.get_docstring(node) if node else None
    return (f"# {said.splitlines()[0]}",) if said else ()


def _enum(path: Path, name: str) -> ast.ClassDef | None:
    where = _defined(path, name)[0] if name.isidentifier() else path
    node = _classes(where).get(name)
    return node if node and "Enum" in [ast.unparse(base) for base in node.bases] else None


def _members(path: Path, name: str) -> dict[str, str]:
    """Names and values of an Enum, empty for anything else."""
    node = _enum(path, name)
    if node is None:
        return {}
    return {
        ast.unparse(one.targets[0]): str(one.value.value)
        for one in node.body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
    }


def _dataclass(path: Path, hint: str) -> tuple[Path, str]:
    """File and name of the dataclass that a type is, or is a list of; no name if it is none."""
    name = hint.removeprefix("list[").removesuffix("]").removesuffix("()")
    where = _defined(path, name)[0] if name.isidentifier() else path
    node = _classes(where).get(name)
    is_one = node is not None and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
    return where, name if is_one else ""


def _defined(path: Path, name: str) -> tuple[Path, str]:
    """The file that defines a class which another file names."""
    for node in _tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and name in [one.name for one in node.names]:
            there = ROOT / f"{node.module.replace('.', '/')}.py"
            return (there if there.is_file() else path), name
    return path, name


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _classes(path: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _tree(path).body if isinstance(node, ast.ClassDef)}


def _as_text(group: Group) -> str:
    rows = [(field, f"{group.path}.{field.name}") for field in group.fields]
    widths = [max((len(text) for text in column), default=0) for column in zip(*_columns(rows), strict=True)]
    lines = [f"{group.path}: {group.said}".rstrip(), ""]
    for (field, _), cells in zip(rows, _columns(rows), strict=True):
        lines += [f"  {line}" for line in field.comment]
        lines.append("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())
    return "\n".join([*lines, ""])


def _columns(rows: Sequence[tuple[Field, str]]) -> list[tuple[str, str, str, str]]:
    return [(path, field.type, f"= {field.default}" if field.default else "", field.kind) for field, path in rows]
