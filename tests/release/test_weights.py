from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.errors import DataError
from release.weights import contents, first_different_tensor, read_tensors


def write(path: Path, **tensors: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Path:
    save_file(tensors, path)
    return path


A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.ones(4, dtype=np.float32)


def test_tensors_are_read_as_the_library_wrote_them(tmp_path: Path) -> None:
    tensors = read_tensors(write(tmp_path / "x", a=A, b=B))
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("F32", (4,)),
    }
    assert tensors["a"].read() == A.tobytes()


def test_the_first_differing_element_is_named_in_hex_and_decimal(tmp_path: Path) -> None:
    changed = A.copy()
    changed[1, 1] = 4.5
    left, right = write(tmp_path / "x", a=A, b=B), write(tmp_path / "y", a=changed, b=B)
    assert first_different_tensor(left, right) == (
        "tensor a, element 4: 0x1.0000000000000p+2 (4) against 0x1.2000000000000p+2 (4.5)"
    )
    assert first_different_tensor(left, left) == ""


def test_a_sign_of_zero_is_a_difference(tmp_path: Path) -> None:
    left = write(tmp_path / "x", z=np.zeros(1, dtype=np.float32))
    right = write(tmp_path / "y", z=-np.zeros(1, dtype=np.float32))
    assert "element 0" in first_different_tensor(left, right)


def test_missing_tensors_and_other_shapes_are_differences(tmp_path: Path) -> None:
    left = write(tmp_path / "x", a=A, b=B)
    assert first_different_tensor(left, write(tmp_path / "y", a=A)) == "tensor b is only on the left"
    reshaped = write(tmp_path / "z", a=A.reshape(3, 2), b=B)
    assert first_different_tensor(left, reshaped) == "tensor a, F32 [2, 3] against F32 [3, 2]"


def test_contents_do_not_depend_on_names(tmp_path: Path) -> None:
    assert contents(write(tmp_path / "x", a=A, b=B)) == contents(write(tmp_path / "y", q=A, p=B))
    assert contents(write(tmp_path / "x", a=A, b=B)) != contents(write(tmp_path / "y", q=A, p=2 * B))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not weights at all")
    with pytest.raises(DataError, match="no safetensors file"):
        read_tensors(tmp_path / "x")
