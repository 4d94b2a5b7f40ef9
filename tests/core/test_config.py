"""Sections of a recipe as checked dataclasses; what is wrong is one line that names it."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.config import RunConfig, identity, load, placement, resolve
from core.errors import ConfigError


class Kind(Enum):
    PLAIN = "plain"
    FANCY = "fancy"


@dataclass(kw_only=True, slots=True)
class Part:
    kind: Kind
    where: Path = placement(Path("here"))


@dataclass(kw_only=True, slots=True)
class Section:
    seed: int
    lr: float
    parts: list[Part]
    weights: dict[str, int] = field(default_factory=dict)
    workers: int = placement(1)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"section.seed is {self.seed}; give 0 or more")


RECIPE = """\
run: {name: test}
section:
  seed: 1
  lr: 3e-4
  parts: [{kind: plain}, {kind: fancy, where: there}]
  weights: {a: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_a_section_becomes_its_dataclass_with_its_types(recipe: str) -> None:
    section = load(recipe, "section", Section)
    assert section.lr == 3e-4 and section.parts[1] == Part(kind=Kind.FANCY, where=Path("there"))
    assert isinstance(section.parts[0], Part)


def test_an_override_replaces_a_value_and_reaches_lists_and_mappings(recipe: str) -> None:
    section = load(
        recipe, "section", Section, ["section.seed=5", "section.weights.b=7", "section.parts=[{kind: fancy}]"]
    )
    assert (section.seed, section.weights, section.parts) == (5, {"a": 2, "b": 7}, [Part(kind=Kind.FANCY)])


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("section.sede=1", "sede"),
        ("section.seed=one", "seed"),
        ("section.seed=1.5", "seed"),
        ("section.seed=true", "seed"),
        ("section.seed=null", "seed"),
        ("section.seed=-1", "section.seed is -1; give 0 or more"),
        ("section.parts=[{kind: odd}]", "odd"),
        ("section.parts=[{kind: plain, wher: x}]", "wher"),
        ("sectoin.seed=1", "it has sections|has sections run, section"),
        ("section=1", "write section.key=value"),
        ("section.seed=1,2", "give one value"),
        ("section.seed=range(1,3)", "give one value"),
        ("~section.seed=1", "give one value"),
        ("=1", "write section.key=value"),
        ("section.seed=[1", "recipe"),
        ("model=smoke", "has its groups filled in already"),
        ("section.seed=${nowhere.seed}", "nowhere"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(recipe: str, override: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        load(recipe, "section", Section, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("section: {seed: 1, lr: 1.0}", "parts"),
        ("other: {}", "no section section; it has other"),
        ("section: {seed: 1, seed: 2}", "duplicate key seed"),
        ("section: {seed: 1", "cannot be read"),
        ("- 1", "not a mapping"),
        ("section: [1]", "not a mapping"),
        ("section: 3", "not a mapping"),
        ("section:", "not a mapping"),
        ("section: ${nowhere}", "nowhere"),
        ("", "no section section"),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_the_file(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=what) as caught:
        load(str(path), "section", Section)
    assert "bad.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    for name in ("bytes.yaml", "missing.yaml"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            load(str(tmp_path / name), "section", Section)
    with pytest.raises(ConfigError, match=r"no recipe smoek .* there are .*smoke"):
        load("smoek", "section", Section)


def test_a_named_recipe_takes_its_groups_from_conf_and_another_one_on_request() -> None:
    assert resolve("smoke")["profile"]["name"] == "portable"
    assert resolve("smoke", ["profile=native", "train.seed=3"])["profile"]["name"] == "native"
    with pytest.raises(ConfigError, match="odd"):
        resolve("smoke", ["profile=odd"])


def test_an_override_of_one_call_does_not_reach_the_next() -> None:
    plain = resolve("smoke")
    assert resolve("smoke", ["train.steps=7", "run.extra={a: 1}"])["train"]["steps"] == 7
    assert resolve("smoke") == plain


def test_a_resolved_recipe_written_to_a_file_gives_the_same_sections(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    whole = resolve("smoke", ["train.lr=1e-3"])
    (tmp_path / "resolved.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(whole)))
    assert resolve(str(tmp_path / "resolved.yaml")) == whole


def test_placement_is_not_in_the_identity_at_any_depth(recipe: str) -> None:
    one = load(recipe, "section", Section)
    moved = load(recipe, "section", Section, ["section.workers=9", "section.parts=[{kind: plain}, {kind: fancy}]"])
    assert identity(one) == identity(moved)
    assert identity(one) == {
        **{"seed": 1, "lr": 3e-4, "weights": {"a": 2}},
        "parts": [{"kind": "plain"}, {"kind": "fancy"}],
    }
    assert identity(load(recipe, "section", Section, ["section.seed=2"])) != identity(one)


def test_where_a_run_lies_is_placement() -> None:
    run = RunConfig(name="x")
    assert identity(run) == {} and run.out_folder == run.inputs_folder == ROOT / "runs" / "x"
    moved = RunConfig(name="x", out=Path("/a"), inputs=Path("/b"))
    assert (moved.out_folder, moved.inputs_folder) == (Path("/a"), Path("/b"))


def test_an_unknown_key_is_answered_with_the_nearest_field(recipe: str) -> None:
    for override, near in (("section.workres=2", "workers"), ("section.parts=[{kid: plain}]", "kind")):
        with pytest.raises(ConfigError, match=f"did you mean {near}[?] python -m launch fields section lists all"):
            load(recipe, "section", Section, [override])
    with pytest.raises(ConfigError, match="Key 'zzz' not in 'Section'; python -m launch fields section lists all"):
        load(recipe, "section", Section, ["section.zzz=2"])
