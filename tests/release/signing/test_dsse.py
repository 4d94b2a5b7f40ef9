"""Our envelopes are DSSE: the vector of its specification, and an independent reader of it."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.errors import DataError
from release.signing.dsse import PAYLOAD_TYPE, Envelope, pae, read_envelope, seal, statement
from release.signing.keys import key_id

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PAYLOAD = statement([{"name": "x", "digest": {"sha256": "ab"}}], "urn:example:1", {"said": "é"})


def test_the_encoding_is_that_of_the_specifications_example() -> None:
    wanted = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == wanted


def test_one_statement_and_key_give_one_file_and_it_reads_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(seal(PAYLOAD, KEY).to_json())
    assert seal(PAYLOAD, KEY).to_json() == (tmp_path / "x").read_bytes()
    envelope = read_envelope(tmp_path / "x")
    assert envelope == seal(PAYLOAD, KEY)
    assert envelope.names("ab") and not envelope.names("ac")
    assert envelope.is_signed_by(KEY.public_key())
    assert not envelope.is_signed_by(OTHER.public_key())


def test_a_changed_statement_or_signature_is_nobodys() -> None:
    envelope = seal(PAYLOAD, KEY)
    changed = Envelope(payload=PAYLOAD.replace(b"ab", b"ac"), signatures=envelope.signatures)
    assert not changed.is_signed_by(KEY.public_key())
    torn = Envelope(payload=PAYLOAD, signatures={"x": b"too short"})
    assert not torn.is_signed_by(KEY.public_key())


def test_a_key_id_is_no_proof() -> None:
    signatures = {key_id(KEY.public_key()): seal(PAYLOAD, OTHER).signatures[key_id(OTHER.public_key())]}
    assert not Envelope(payload=PAYLOAD, signatures=signatures).is_signed_by(KEY.public_key())


def test_two_keys_may_sign_one_statement() -> None:
    both = seal(PAYLOAD, KEY).with_signature(OTHER)
    assert both.is_signed_by(KEY.public_key()) and both.is_signed_by(OTHER.public_key())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"payload":"","payloadType":"text/plain","signatures":[]}',
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":""}]}',
        seal(b'{"_type":"https://in-toto.io/Statement/v1","subject":[1],"predicate":{}}', KEY).to_json(),
        seal(PAYLOAD, KEY).to_json().replace(b'"payload":"', b'"payload":"*'),
        b"[" * 100_000,
    ],
)
def test_what_is_no_signed_statement_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="is no signed statement"):
        read_envelope(tmp_path / "x")


def test_an_independent_reader_accepts_ours_and_refuses_a_changed_one() -> None:
    securesystemslib = pytest.importorskip(
        "securesystemslib.dsse", reason="securesystemslib, of requirements-dev.lock, is not installed"
    )
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    name = key_id(KEY.public_key())
    key = SSlibKey(keyid=name, keytype="ed25519", scheme="ed25519", keyval={"public": _raw(KEY)})
    theirs = securesystemslib.Envelope.from_dict(json.loads(seal(PAYLOAD, KEY).to_json()))
    assert theirs.payload_type == PAYLOAD_TYPE
    assert theirs.pae() == pae(PAYLOAD_TYPE, PAYLOAD)
    assert list(theirs.verify([key], 1)) == [name]
    theirs.payload = PAYLOAD.replace(b"ab", b"ac")
    with pytest.raises(VerificationError):
        theirs.verify([key], 1)


def _raw(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
