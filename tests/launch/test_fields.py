"""What `launch fields` reads from source text, against the dataclasses themselves."""

import dataclasses
import importlib
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args, get_type_hints

import pytest

from core.codetree import ROOT
from core.config import PLACEMENT
from core.errors import ConfigError
from launch.check import SECTIONS
from launch.fields import groups_of, schemas, told
from tests.conftest import run_module


def schema_of(section: str) -> type:
    """The dataclass of a section, imported."""
    path, name = schemas()[section]
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    schema: type = getattr(module, name)
    return schema


def every_field(path: str, schema: type) -> Iterator[tuple[str, Any, "dataclasses.Field[Any]"]]:
    """Path, type and field of everything in a dataclass and the dataclasses in it."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        yield f"{path}.{field.name}", hint, field
        inner = get_args(hint)[0] if getattr(hint, "__origin__", None) is list else hint
        if dataclasses.is_dataclass(inner):
            assert isinstance(inner, type)
            yield from every_field(f"{path}.{field.name}{'' if inner is hint else '[]'}", inner)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_every_section_is_told_with_its_default_and_kind(section: str) -> None:
    found = {f"{group.path}.{field.name}": field for group in groups_of(section) for field in group.fields}
    wanted = {path: (hint, field) for path, hint, field in every_field(section, schema_of(section))}
    assert sorted(found) == sorted(wanted)
    for path, (hint, field) in wanted.items():
        is_needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        assert ("must be given" in found[path].kind) == is_needed, path
        assert ("placement" in found[path].kind) == bool(field.metadata.get(PLACEMENT)), path
        if isinstance(field.default, bool | float):
            assert found[path].default == str(field.default), path
        if isinstance(field.default, Enum):
            assert found[path].default == str(field.default.value), path
            assert found[path].type == "|".join(str(one.value) for one in hint), path


def test_a_field_is_told_with_the_comment_above_it() -> None:
    done = run_module("launch", "fields", "train.keep_newest")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "  # Besides those that the artifact keeps, the newest this many stay while the run is under way."
        in done.stdout
    )
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("  train.")] == [
        ["train.keep_newest", "int", "=", "2", "placement"]
    ]


def test_a_section_is_told_with_what_its_dataclasses_say_and_no_other_section() -> None:
    text = told("train")
    assert "\ntrain.spikes: What is an outlier" in text and "patience     outliers in a row" in text
    assert "model.dim" not in text and "model.dim" in told("")
    assert told("train.spikes") in text and "train.lr " not in told("train.spikes")


def test_what_is_no_field_is_refused_with_the_nearest() -> None:
    for asked, line in (
        ("trian", "no section trian; there are run, sources"),
        ("train.stpes", "no field train.stpes; did you mean train.steps"),
        ("train.spikes.windw", "did you mean train.spikes.window"),
        ("run.zzzzzzzzzzzzzzzzz", "no field run.zzzzzzzzzzzzzzzzz; python -m launch fields run lists"),
    ):
        with pytest.raises(ConfigError, match=line.replace("?", "[?]")):
            told(asked)
