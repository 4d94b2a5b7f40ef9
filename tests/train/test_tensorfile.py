"""Files written in places are those that the safetensors library writes."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from train.tensorfile import allocate, layout_of, write_at

SHAPES = (
    {"b": (5,), "a": (5, 3)},
    {"blocks.10.w": (2, 3, 4), "blocks.2.w": (7,), "embedding": (1,)},
    {'ü"\\x': (3,), "z" * 61: (1, 1)},
)


@pytest.mark.parametrize("shapes", SHAPES)
def test_a_file_filled_in_any_order_is_the_librarys(shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    tensors = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "theirs")
    layout = layout_of(shapes)
    allocate(tmp_path / "ours", layout)
    with (tmp_path / "ours").open("r+b") as stream:
        for name in reversed(tensors):
            write_at(stream.fileno(), tensors[name].data.cast("B"), layout.places[name])
        write_at(stream.fileno(), memoryview(layout.header), 0)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
