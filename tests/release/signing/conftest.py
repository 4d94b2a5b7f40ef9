"""Keys, and a bundle that one of them signed."""

from pathlib import Path

import pytest

from release.contents import Bundle
from release.signing.attestations import write_release
from release.signing.keys import generate, read_private


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The maker's private key; the public one lies beside it."""
    generate(tmp_path / "maker")
    return tmp_path / "maker"


@pytest.fixture
def other_key(tmp_path: Path) -> Path:
    """Another party's private key."""
    generate(tmp_path / "other")
    return tmp_path / "other"


@pytest.fixture
def signed(bundle: Bundle, key: Path) -> Bundle:
    """A bundle that its maker signed."""
    write_release(bundle, read_private(key))
    return bundle
