"""Composes a recipe and hands one section of it to a stage as that stage's own checked dataclass.

A recipe is `conf/NAME.yaml` or a path to a YAML file; `key=value` overrides are applied to it. Groups (`model=tiny`)
are those of hydra. A field of a section is identity, and so decides the result and its hash, unless it is marked with
`placement(...)`.

Hydra is used through its compose interface only: its main decorator makes folders, changes logging and runs once a
rank (hydra issue 2070).
"""

import copy
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from core.codetree import ROOT
from core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigKeyError

CONF = ROOT / "conf"
# The pipeline that recipes go through; no recipe itself.
STAGES = CONF / "stages.yaml"
PLACEMENT = "placement"
ADDED = "added"

Schema = TypeVar("Schema")


@dataclasses.dataclass(kw_only=True, slots=True)
class RunConfig:
    """Section `run`: where artifacts lie. All of it is placement."""

    name: str = dataclasses.field(metadata={PLACEMENT: True})
    out: Path = dataclasses.field(default=Path(), metadata={PLACEMENT: True})
    inputs: Path = dataclasses.field(default=Path(), metadata={PLACEMENT: True})

    @property
    def out_folder(self) -> Path:
        """Where this stage writes its artifact: `run.out`, else `runs/<name>` in the checkout."""
        return self.out if self.out != Path() else ROOT / "runs" / self.name

    @property
    def inputs_folder(self) -> Path:
        """Where this stage finds its inputs: `run.inputs`, else where it writes."""
        return self.inputs if self.inputs != Path() else self.out_folder


def placement(default: Any) -> Any:
    """A field that says where and how, never what: it is not hashed. `default` may be a value or a factory."""
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={PLACEMENT: True})
    return dataclasses.field(default=default, metadata={PLACEMENT: True})


def added(default: Any) -> Any:
    """A field that came later and is identity where it is used: as long as it has its default it is not hashed.

    So configurations from before it, and their hashes, stay what they were. `default` may be a value or a factory.
    """
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={ADDED: True})
    return dataclasses.field(default=default, metadata={ADDED: True})


def load(recipe: str, section: str, schema: type[Schema], overrides: Sequence[str] = ()) -> Schema:
    """One section of a recipe as its dataclass; the dataclass's own checks have run.

    Raises ConfigError naming the recipe, the section and the offending key or value.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    whole = compose(recipe, overrides)
    if section not in whole:
        raise ConfigError(f"recipe {recipe} has no section {section}; it has {', '.join(sorted(map(str, whole)))}")
    try:
        if not OmegaConf.is_dict(whole[section]):
            raise ConfigError(f"it is {whole[section]}, not a mapping of keys to values")
        merged = OmegaConf.merge(OmegaConf.structured(schema), _enum_names(schema, whole[section]))
        return cast(Schema, OmegaConf.to_object(merged))
    except ConfigKeyError as error:
        named = str(error).splitlines()[0]
        raise ConfigError(f"recipe {recipe}, section {section}: {named}; {_nearest(error, section)}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"recipe {recipe}, section {section}: {_first_line(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"recipe {recipe}, section {section}: {error}") from error


def resolve(recipe: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The whole recipe as plain values, every default of the file filled in."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return cast(dict[str, Any], OmegaConf.to_container(compose(recipe, overrides), resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"recipe {recipe}: {_first_line(error)}") from error


def compose(recipe: str, overrides: Sequence[str] = ()) -> "DictConfig":
    """Compose a recipe with its groups and overrides, untyped. Raises ConfigError on what hydra refuses."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        strange = [o for o in parsed if o.is_sweep_override() or o.is_delete()]
        if strange:
            raise ConfigError(f"override {strange[0].input_line}: give one value, as in section.key=value")
        groups = [o for o in parsed if o.key_or_group and (CONF / o.key_or_group).is_dir()]
        if recipe.endswith((".yaml", ".yml")):
            if groups:
                raise ConfigError(f"{groups[0].input_line}: a recipe given as a file has its groups filled in already")
            whole = _read(Path(recipe))
        else:
            if not (CONF / f"{recipe}.yaml").exists():
                names = sorted(path.stem for path in CONF.glob("*.yaml") if path != STAGES)
                raise ConfigError(
                    f"no recipe {recipe} in {CONF}; there are {', '.join(names)}, or give a path to a .yaml file"
                )
            whole = copy.deepcopy(_compose_named(recipe, tuple(str(o.input_line) for o in groups)))
        for override in (o for o in parsed if o not in groups):
            section, dot, _ = override.key_or_group.partition(".")
            if not dot or section not in whole:
                known = ", ".join(sorted(map(str, whole)))
                raise ConfigError(
                    f"override {override.input_line}: write section.key=value; recipe {recipe} has sections {known}"
                )
            OmegaConf.update(whole, override.key_or_group, override.value(), force_add=True)
        return whole
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"recipe {recipe}: {_first_line(error)}") from error


@cache
def _compose_named(name: str, groups: tuple[str, ...]) -> "DictConfig":
    # Kept, because a stage asks for several sections and conf/ does not change meanwhile: 0.15 s each.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base=None):
        whole = hydra_compose(name, overrides=list(groups))
    OmegaConf.set_struct(whole, False)
    return whole


def identity(config: Any) -> dict[str, Any]:
    """What of a section decides the result, as JSON values: placement fields are left out at every depth.

    So are `added` fields that have their default.
    """
    unused = [field.name for field in dataclasses.fields(config) if _is_unused(config, field)]
    return {name: _plain(getattr(config, name)) for name in identity_names(type(config)) if name not in unused}


def identity_names(schema: type) -> list[str]:
    """The fields of a section's dataclass that decide the result."""
    return [field.name for field in dataclasses.fields(schema) if not field.metadata.get(PLACEMENT)]


def _is_unused(config: Any, field: "dataclasses.Field[Any]") -> bool:
    if not field.metadata.get(ADDED):
        return False
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    return bool(getattr(config, field.name) == default)


def _enum_names(hint: Any, value: Any) -> Any:
    """A section whose choices are written as values (`explicit`), with the member names that OmegaConf wants.

    Goes down through nested dataclasses and lists of them; `hint` is the type that `value` is to have.
    """
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {str(member.value): member.name for member in hint}.get(str(value), value)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        hints = get_type_hints(hint)
        return {name: _enum_names(hints.get(name), item) for name, item in value.items()}
    if get_origin(hint) is list and isinstance(value, Sequence) and not isinstance(value, str):
        return [_enum_names(get_args(hint)[0], item) for item in value]
    return value


def _nearest(error: "ConfigKeyError", section: str) -> str:
    """What to do about a key that no field has: the field whose name is nearest, and where all are listed."""
    owner = error.object_type
    names = [one.name for one in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    near = difflib.get_close_matches(str(error.key), names, n=1)
    listed = f"python -m launch fields {section} lists all"
    return f"did you mean {near[0]}? {listed}" if near else listed


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return identity(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _read(path: Path) -> "DictConfig":
    import yaml
    from omegaconf import DictConfig, OmegaConf

    try:
        whole = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {_first_line(error)}") from error
    if not isinstance(whole, DictConfig):
        raise ConfigError(f"recipe {path} is not a mapping of sections")
    return whole


def _first_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:300]
