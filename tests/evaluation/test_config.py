"""The section is checked."""

from typing import Any

import pytest

from core.errors import ConfigError
from evaluation.config import ScoreConfig


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seq_len": 1}, "evaluate.seq_len is 1; give at least 2"),
        ({"source_bytes": 0}, "evaluate.source_bytes is 0"),
        ({"temperature": -0.1}, "evaluate.temperature is -0.1"),
        ({"top_p": 0.0}, "evaluate.top_p is 0.0"),
    ],
)
def test_an_impossible_value_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ScoreConfig(**{"seed": 1, "seq_len": 32, **change})
    assert words in str(caught.value)
