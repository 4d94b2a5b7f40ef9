"""Rounding to few bits: what each integer stands for, how the file holds it, and what an honest error is."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from core.errors import ConfigError
from posttrain.config import QuantizeConfig
from posttrain.rounding import OFFSET, SCALE, is_rounded, round_tensor, write_rounded

EIGHT, FOUR = QuantizeConfig(bits=8), QuantizeConfig(bits=4, group=4)


def matrix(rows: int, columns: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    values = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    drawn: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.sin(values).astype(np.float32)
    return drawn


def test_a_row_is_scaled_by_its_largest_element_which_stays_as_it_is() -> None:
    rounded = round_tensor("w", np.array([[1.27, -0.014, 0.0, 0.0], [0, 0, 0, 0]], dtype=np.float32), EIGHT)
    assert rounded.integers[0].reshape(-1).tolist() == [127, -1, 0, 0]
    assert rounded.values()[0, 0] == np.float32(1.27) and rounded.values()[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("config", [EIGHT, FOUR, QuantizeConfig(bits=8, group=2)])
def test_no_element_moves_by_more_than_half_a_step_of_its_scale(config: QuantizeConfig) -> None:
    tensor = matrix(6, 16)
    rounded = round_tensor("w", tensor, config)
    moved = np.abs(rounded.values() - tensor).reshape(rounded.integers.shape)
    assert (moved <= rounded.scales * np.float32(0.5000001)).all()
    told = rounded.errors(tensor)
    assert told["largest"] == pytest.approx(moved.max()) and told["mean"] == pytest.approx(moved.mean())
    assert 0 < told["mean"] < told["largest"]


def test_fewer_bits_and_wider_groups_lose_more() -> None:
    tensor = matrix(8, 16) * np.linspace(0.1, 9, 16, dtype=np.float32)
    lost = [
        round_tensor("w", tensor, config).errors(tensor)["mean"] for config in (EIGHT, FOUR, QuantizeConfig(bits=4))
    ]
    assert lost == sorted(lost) and lost[0] < lost[2] / 8


@pytest.mark.parametrize("config", [EIGHT, FOUR])
def test_what_the_file_holds_gives_the_values_again_with_the_library_alone(
    tmp_path: Path, config: QuantizeConfig
) -> None:
    tensor, kept = matrix(4, 8), matrix(1, 3)[0]
    rounded = round_tensor("w", tensor, config)
    write_rounded(tmp_path / "q.safetensors", [("a.norm", kept), ("w", rounded)])
    found = safetensors.numpy.load_file(tmp_path / "q.safetensors")
    integers = found["w"].astype(np.int16)
    if config.bits == 4:
        integers = np.stack([integers & 15, integers >> 4], axis=2).reshape(4, 8) - OFFSET
    scales = np.repeat(found[f"w{SCALE}"], 8 // found[f"w{SCALE}"].shape[1], axis=1)
    assert (integers.astype(np.float32) * scales == rounded.values()).all()
    assert (found["a.norm"] == kept).all()


def test_norms_and_what_is_kept_are_not_rounded() -> None:
    assert is_rounded("blocks.0.attention.wq.weight", (4, 4), EIGHT)
    assert not is_rounded("blocks.0.attention_norm.weight", (4,), EIGHT)
    assert not is_rounded("embedding.weight", (9, 4), EIGHT)
    assert is_rounded("embedding.weight", (9, 4), QuantizeConfig(keeps=["head"]))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tensor w has rows of 6, quantize\.group is 4; give a divisor"):
        round_tensor("w", matrix(2, 6), FOUR)
    with pytest.raises(ConfigError, match=r"quantize\.bits is 3"):
        QuantizeConfig(bits=3)
