"""Section `evaluate`: what is scored, and which samples are drawn. Free of torch."""

from dataclasses import dataclass, field

from core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class ScoreConfig:
    """All identity.

    `seq_len` is the width of a scoring window, usually that of training. Of every source, held-out documents are
    scored in the order of their keys until the next would exceed `source_bytes`. `batch_windows` windows are computed
    at a time.
    """

    seed: int
    seq_len: int
    source_bytes: int = 1_000_000
    batch_windows: int = 16
    prompts: list[str] = field(default_factory=lambda: ["The", "In the"])
    sample_tokens: int = 64
    temperature: float = 0.8
    top_p: float = 0.95

    def __post_init__(self) -> None:
        least = {
            "seq_len": (self.seq_len, 2),
            "source_bytes": (self.source_bytes, 1),
            "batch_windows": (self.batch_windows, 1),
            "sample_tokens": (self.sample_tokens, 1),
        }
        for name, (value, bound) in least.items():
            if value < bound:
                raise ConfigError(f"evaluate.{name} is {value}; give at least {bound}")
        if not self.temperature >= 0:
            raise ConfigError(f"evaluate.temperature is {self.temperature}; give 0 (the likeliest token) or above")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"evaluate.top_p is {self.top_p}; give a share above 0 and up to 1")
