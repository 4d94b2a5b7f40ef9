"""Signed statements: an in-toto Statement v1 in a DSSE envelope, signed with ed25519.

Formats: DSSE 1.0 (github.com/secure-systems-lab/dsse, protocol.md and envelope.md), in-toto attestation framework v1.
What is signed is the pre-authentication encoding of type and payload, so that no signature of one kind of document can
pass as one of another. ed25519 is deterministic: the same statement and key give the same bytes.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.errors import DataError
from core.hashing import canonical_json
from release.signing.keys import key_id

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A statement as it was signed, and the signatures by key id. Nothing in it is trusted before `is_signed_by`."""

    payload: bytes
    signatures: Mapping[str, bytes]

    @property
    def statement(self) -> dict[str, Any]:
        """The statement: `subject`, `predicateType` and `predicate`."""
        statement: dict[str, Any] = json.loads(self.payload)
        return statement

    @property
    def predicate(self) -> dict[str, Any]:
        """What is said of the subjects."""
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate

    def names(self, digest: str) -> bool:
        """Whether a subject of the statement has this SHA-256."""
        return any(subject["digest"].get("sha256") == digest for subject in self.statement["subject"])

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether one of the signatures is this key's. The key id is a hint only, so every signature is tried."""
        return any(_is_good(key, signature, pae(PAYLOAD_TYPE, self.payload)) for signature in self.signatures.values())

    def with_signature(self, key: Ed25519PrivateKey) -> "Envelope":
        """The same statement, signed by one more key."""
        added = {key_id(key.public_key()): key.sign(pae(PAYLOAD_TYPE, self.payload))}
        return Envelope(payload=self.payload, signatures={**self.signatures, **added})

    def to_json(self) -> bytes:
        """The envelope as its file holds it."""
        signatures = [{"keyid": name, "sig": _encode(sig)} for name, sig in sorted(self.signatures.items())]
        return canonical_json({"payload": _encode(self.payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures})


def statement(subjects: Sequence[Mapping[str, Any]], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1; a subject has a `name` and a `digest`."""
    said = {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": predicate_type, "predicate": predicate}
    return canonical_json(said)


def seal(payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """Sign a statement."""
    return Envelope(payload=payload, signatures={}).with_signature(key)


def read_envelope(path: Path) -> Envelope:
    """Read an envelope. Raises DataError if it is none, or holds no in-toto statement with subjects and predicate."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        record = json.loads(path.read_bytes())
        if record["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"its payload is {record['payloadType']}")
        signatures = {str(entry["keyid"]): _decode(entry["sig"]) for entry in record["signatures"]}
        envelope = Envelope(payload=_decode(record["payload"]), signatures=signatures)
        said = envelope.statement
        if said["_type"] != STATEMENT_TYPE or not signatures or not isinstance(said["predicate"], dict):
            raise ValueError("it holds no signed in-toto statement")
        envelope.names("")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no signed statement: {error}; remove it or get it again") from error
    return envelope


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _is_good(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decode(text: str) -> bytes:
    # DSSE allows both alphabets.
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
