"""ed25519 keys as files: made, read, named.

A private key is PKCS #8 in PEM, without a passphrase, readable by its owner only; a public key is SubjectPublicKeyInfo
in PEM (RFC 8410). A key's id is the SHA-256 of its SubjectPublicKeyInfo in DER.
"""

import os
import sys
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.arguments import Parser
from core.codetree import ROOT
from core.errors import ConfigError
from core.hashing import sha256_hex

PUBLIC_SUFFIX = ".pub"
OWNER_ONLY = 0o600
SHORT_ID_DIGITS = 16


def main(arguments: list[str]) -> None:
    """Run verb keygen: write KEY and KEY.pub, and the key's id to standard output."""
    parser = Parser("python -m release keygen KEY")
    parser.add_argument("key", type=Path)
    key = parser.parse_args(arguments).key
    public = generate(key)
    sys.stdout.write(f"{key}  private: who reads it can sign as you\n{public_path(key)}  public: hand it out\n")
    sys.stdout.write(f"key id {key_id(read_public(public))}\n")


def generate(path: Path) -> Path:
    """Make a key pair; returns the public file's path.

    Raises ConfigError if either file is there, or if the private one would lie in the checkout, whose files a bundle
    publishes.
    """
    if path.resolve().is_relative_to(ROOT):
        raise ConfigError(f"{path} lies in the checkout, whose files a bundle publishes; keep keys elsewhere")
    public = public_path(path)
    there = next((file for file in (path, public) if os.path.lexists(file)), None)
    if there:
        raise ConfigError(f"{there} is there and is not written over; name another file or move it away")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secret)
        public.write_bytes(to_pem(key.public_key()))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}; name a file in a folder that is there"
        ) from error
    return public


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises ConfigError if it is none, or if others than its owner may read it."""
    content = _read(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no private key in PEM without passphrase: {error}; see release keygen") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no ed25519 key; make one with python -m release keygen")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ConfigError(f"{path} may be read by others (mode {mode:o}); run chmod 600 on it, or make a new key")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Read a public key. Raises ConfigError if it is none."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no public key in PEM: {error}; give the .pub file of release keygen") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is no ed25519 key; give the .pub file of release keygen")
    return key


def public_path(path: Path) -> Path:
    """Where the public half of a private key lies."""
    return path.with_name(path.name + PUBLIC_SUFFIX)


def to_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as its file holds it."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256_hex(der)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror}; name a key file") from error
