"""Section `export`: what of the exported folder is a choice, and how it is held against ours. Free of torch."""

from dataclasses import dataclass

from core.errors import ConfigError
from model.config import ModelConfig


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    """All identity.

    Token ids are compared on up to `token_documents` held-out documents of every source; logits on the first
    `window_tokens` tokens of up to `logit_documents` of them; `greedy_tokens` are continued from a short prompt of
    each. `max_logit_difference` is the bound that the comparison states (inference/compare.py says why it is not 0).
    """

    license: str
    token_documents: int = 500
    logit_documents: int = 4
    window_tokens: int = 128
    greedy_tokens: int = 16
    max_logit_difference: float = 1e-3

    def __post_init__(self) -> None:
        counts = {
            "token_documents": self.token_documents,
            "logit_documents": self.logit_documents,
            "window_tokens": self.window_tokens,
            "greedy_tokens": self.greedy_tokens,
        }
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"export.{name} is {count}; compare at least 1, or the folder is exported unseen")
        if not 0 < self.max_logit_difference < 0.1:
            raise ConfigError(f"export.max_logit_difference is {self.max_logit_difference}; give a bound from 0 to 0.1")
        if not self.license.strip():
            raise ConfigError("export.license is empty; name the weights' licence by its SPDX identifier")


def check_exportable(model: ModelConfig) -> None:
    """Raise ConfigError for a model that transformers has no class for."""
    if model.logit_softcap:
        raise ConfigError(
            f"model.logit_softcap is {model.logit_softcap:g}, and transformers has no such model of Llama's shape to "
            "export to; set it to 0"
        )
