"""The sections of a recipe that training reads, and what of them decides the result. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.config import RunConfig, identity, load, resolve
from core.errors import ConfigError
from core.profile import ProfileConfig, fingerprint
from model.config import ModelConfig
from train.config import Objective, TrainConfig

# What the windows of the pack must be (pack.form).
FORMS = {Objective.NEXT_TOKEN: "text", Objective.SFT: "conversations", Objective.PREFERENCE: "pairs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Sections run, model, train and profile."""

    run: RunConfig
    model: ModelConfig
    train: TrainConfig
    profile: ProfileConfig

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the result, as JSON values: the content of config.json in the artifact."""
        return {
            "model": identity(self.model),
            "train": identity(self.train),
            "profile": fingerprint(self.profile),
        }

    def check_data(self, *, vocab_size: int, seq_len: int) -> None:
        """Raise ConfigError if the model cannot take what was packed."""
        if vocab_size > self.model.vocab_size:
            raise ConfigError(
                f"the pack holds tokens below {vocab_size}, model.vocab_size is {self.model.vocab_size}; raise it"
            )
        if seq_len > self.model.max_seq_len:
            raise ConfigError(
                f"the pack's windows are {seq_len} tokens long, model.max_seq_len is {self.model.max_seq_len}; raise it"
            )


def read_recipe(recipe: str, overrides: Sequence[str]) -> Recipe:
    """Load and check the sections. Raises ConfigError."""
    return Recipe(
        run=load(recipe, "run", RunConfig, overrides),
        model=load(recipe, "model", ModelConfig, overrides),
        train=load(recipe, "train", TrainConfig, overrides),
        profile=load(recipe, "profile", ProfileConfig, overrides),
    )


def check_form(name: str, overrides: Sequence[str], *, recipe: Recipe) -> None:
    """Raise ConfigError if the recipe packs something else than what its objective learns from."""
    pack, how = resolve(name, overrides).get("pack"), recipe.train.objective
    form = str((pack or {}).get("form", FORMS[Objective.NEXT_TOKEN])).lower()
    if pack and form != FORMS[how]:
        raise ConfigError(
            f"train.objective is {how.value}, which learns from {FORMS[how]}, and pack.form is {form}; set it to "
            f"{FORMS[how]}, or take another objective"
        )


def window_tokens(name: str, overrides: Sequence[str], *, recipe: Recipe) -> int:
    """Tokens of a window: what the recipe packs, or else the longest that the model takes."""
    packed = resolve(name, overrides).get("pack", {}).get("seq_len")
    return int(packed) if packed else recipe.model.max_seq_len


def heldout_tokens(name: str, overrides: Sequence[str], *, recipe: Recipe) -> int:
    """Tokens that an evaluation measures, at most; 0 if there is none.

    Raises ConfigError if the recipe evaluates and packs nothing for it.
    """
    whole = resolve(name, overrides)
    pack = whole.get("pack")
    if not recipe.train.eval_every_steps or pack is None:
        return 0
    of_source = int(pack.get("heldout_tokens", 0))
    if not of_source:
        raise ConfigError(
            f"train.eval_every_steps is {recipe.train.eval_every_steps}, but pack.heldout_tokens is 0; give the tokens "
            "of each source to measure, or leave train.eval_every_steps at 0"
        )
    return of_source * max(1, len(whole.get("sources", {}).get("items", [])))
