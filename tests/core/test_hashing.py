"""One way to write JSON for hashing."""

import hashlib
from pathlib import Path

import pytest

from core.hashing import READ_BYTES, canonical_json, hash_file, hash_value, sha256_hex


def test_canonical_json_has_one_form() -> None:
    assert (
        canonical_json({"b": [1, 2.5, None, True], "a": {"é": "\n"}})
        == '{"a":{"é":"\\n"},"b":[1,2.5,null,true]}'.encode()
    )
    assert hash_value({"a": 1, "b": 2}) == hash_value({"b": 2, "a": 1}) == sha256_hex(b'{"a":1,"b":2}')


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_write_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": number})


def test_the_empty_hash_is_that_of_fips_180_4() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_is_hashed_whole_though_read_in_blocks(tmp_path: Path) -> None:
    content = b"ab" * READ_BYTES + b"c"
    (tmp_path / "f").write_bytes(content)
    assert hash_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()
