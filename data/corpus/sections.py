"""The recipe of a corpus, taken from its artifacts: the sections of data/, what decides the result and nothing else.

An artifact's configuration holds the section's identity and a few facts that decide the stage beside it (versions of
libraries, contents of local files); these are left out here, because whoever redoes the stage finds his own. Where a
phase of the mixture starts is said in samples, so that no section of another folder is needed to know it.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from core.config import PLACEMENT
from data.cleanconfig import CleanConfig
from data.packconfig import PackConfig, Unit
from data.sources.config import SourcesConfig
from data.tokenizer import TokenizerConfig

SECTIONS = {
    "sources": ("fetch", SourcesConfig),
    "clean": ("clean", CleanConfig),
    "tokenizer": ("tokenizer", TokenizerConfig),
    "pack": ("pack", PackConfig),
}

Record = Mapping[str, Any]


def sections_of(configs: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """The sections of a recipe from the configurations of the stages' artifacts, by stage; these stay as they are."""
    configs = copy.deepcopy(dict(configs))
    sections = {
        section: {name: configs[stage][name] for name in _identity_fields(schema) if name in configs[stage]}
        for section, (stage, schema) in SECTIONS.items()
    }
    if configs["clean"].get("keep_dropped"):
        sections["data"] = {"keep_dropped": True}
    starts = configs["pack"].get("phase_starts", [])
    for phase, start in zip(sections["pack"].get("phases", []), starts, strict=True):
        phase |= {"start": start, "unit": Unit.SAMPLES.value}
    return sections


def _identity_fields(schema: type) -> list[str]:
    return [field.name for field in dataclasses.fields(schema) if not field.metadata.get(PLACEMENT)]
