"""The folder `attestations/` of a bundle: what was signed about it, and the check of it.

    release.dsse.json               the maker's statement of the root
    provenance/STAGE.dsse.json      SLSA provenance of every stage
    verification/KEY-LEVEL.dsse.json  what others found, added later
    keys/KEY.pub                    the keys that signed, for convenience: trust comes from elsewhere
    model.sig                       a signature in OpenSSF's format, for other tools; not looked at here

None of it is part of the root. KEY is the beginning of the key's id.
"""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.artifact import ATTESTATIONS
from core.errors import ConfigError, DataError
from release.contents import Bundle
from release.signing.dsse import Envelope, read_envelope, seal
from release.signing.keys import PUBLIC_SUFFIX, SHORT_ID_DIGITS, key_id, read_public, to_pem
from release.signing.statements import PROVENANCE, RELEASE, VERIFICATION, provenance_statement, release_statement

SUFFIX = ".dsse.json"
RELEASE_NAME = f"release{SUFFIX}"
OPENSSF_NAME = "model.sig"


def is_there(bundle: Bundle) -> bool:
    """Whether anything was signed about a bundle."""
    return (bundle.folder / ATTESTATIONS).exists()


def write_release(bundle: Bundle, key: Ed25519PrivateKey) -> Path:
    """Sign a bundle's root and the provenance of its stages; a second key's signature is added to the first's.

    Raises DataError if something else was signed there before.
    """
    folder = bundle.folder / ATTESTATIONS
    _sign(folder / RELEASE_NAME, release_statement(bundle), key)
    for stage in bundle.artifacts:
        _sign(folder / "provenance" / f"{stage}{SUFFIX}", provenance_statement(bundle, stage), key)
    _keep_key(folder, key.public_key())
    return folder / RELEASE_NAME


def write_verification(bundle: Bundle, payload: bytes, key: Ed25519PrivateKey, *, level: str) -> Path:
    """Sign what was found at a level; an older finding of the same key and level is replaced."""
    folder = bundle.folder / ATTESTATIONS
    path = folder / "verification" / f"{key_id(key.public_key())[:SHORT_ID_DIGITS]}-{level}{SUFFIX}"
    _write(path, seal(payload, key).to_json())
    _keep_key(folder, key.public_key())
    return path


def signature(bundle: Bundle) -> str:
    """What is signed about a bundle names this root, and the given key signed it.

    Raises DataError if a statement speaks of other bytes, is not signed by `bundle.key`, or is no statement at all.
    """
    folder = bundle.folder / ATTESTATIONS
    names = sorted(_files(folder))
    envelopes = {name: read_envelope(folder / name) for name in names if name.endswith(SUFFIX)}
    maker = envelopes.get(RELEASE_NAME)
    if maker is None:
        if bundle.key:
            raise DataError(f"the bundle is not signed, but --key {bundle.key} was given; ask its maker to sign it")
        said = "not signed by a maker"
    else:
        _check_subject(RELEASE_NAME, maker, RELEASE, bundle.root)
        signer = _signer(maker, bundle)
        said = f"the root is signed by key {key_id(signer)}"
        said += ", the one given" if bundle.key else "; whose that is, nothing here can say: give --key PUB"
        said += f"; provenance of {_check_provenance(bundle, envelopes, signer)} stages"
    others = list(_verifications(bundle, envelopes, maker))
    return "; ".join([said, *others])


def _check_provenance(bundle: Bundle, envelopes: dict[str, Envelope], signer: Ed25519PublicKey) -> int:
    stages = {
        name: name.removeprefix("provenance/").removesuffix(SUFFIX) for name in envelopes if "provenance/" in name
    }
    for name, stage in stages.items():
        if stage not in bundle.digests:
            raise DataError(f"{ATTESTATIONS}/{name} is of a stage that the bundle does not have; remove it")
        _check_subject(name, envelopes[name], PROVENANCE, bundle.digests[stage])
        used = envelopes[name].predicate["buildDefinition"]["resolvedDependencies"]
        wanted = {f"artifacts/{other}.json": bundle.digests[other] for other in bundle.stages[stage]["inputs"]}
        found = {entry["name"]: entry["digest"]["sha256"] for entry in used if "sha256" in entry["digest"]}
        if found != wanted:
            raise DataError(f"{ATTESTATIONS}/{name} names other inputs than the bundle's; do not rely on it")
        if not envelopes[name].is_signed_by(signer):
            raise DataError(f"{ATTESTATIONS}/{name} is not signed by the key that signed the root; do not rely on it")
    return len(stages)


def _verifications(bundle: Bundle, envelopes: dict[str, Envelope], maker: Envelope | None) -> Iterator[str]:
    """What others said, by the keys that were given; how many others there are."""
    trusted = [read_public(path) for path in bundle.verifiers]
    unknown = 0
    for name, envelope in envelopes.items():
        if not name.startswith("verification/"):
            continue
        _check_subject(name, envelope, VERIFICATION, bundle.root)
        by = next((key for key in trusted if envelope.is_signed_by(key)), None)
        if by is None:
            unknown += 1
            continue
        said = envelope.predicate
        day, short = str(said["made"])[:10], key_id(by)[:SHORT_ID_DIGITS]
        own = " (its maker's, so by nobody else)" if maker and maker.is_signed_by(by) else ""
        yield f"{said['level']} {said['result']} on {day} by verifier key {short}{own}"
    if unknown:
        yield f"{unknown} verification(s) by keys that were not given, which count for nothing"


def _signer(envelope: Envelope, bundle: Bundle) -> Ed25519PublicKey:
    """The given key, or the one that lies in the bundle. Raises DataError if the signature is not of it."""
    kept = bundle.folder / ATTESTATIONS / "keys"
    paths = [bundle.key] if bundle.key else sorted(kept.glob(f"*{PUBLIC_SUFFIX}"))
    signer = next((key for key in map(_read_key, paths) if envelope.is_signed_by(key)), None)
    if signer is None:
        ids = ", ".join(envelope.signatures)
        wanted = f"the given key {key_id(read_public(bundle.key))}" if bundle.key else "any key that lies in the bundle"
        raise DataError(f"the root is not signed by {wanted}; its signatures say they are of {ids}; do not rely on it")
    return signer


def _read_key(path: Path) -> Ed25519PublicKey:
    try:
        return read_public(path)
    except ConfigError as error:
        if ATTESTATIONS in path.parts:
            raise DataError(str(error)) from error
        raise


def _check_subject(name: str, envelope: Envelope, predicate_type: str, digest: str) -> None:
    if envelope.statement["predicateType"] != predicate_type:
        raise DataError(f"{ATTESTATIONS}/{name} is of kind {envelope.statement['predicateType']}; remove it")
    if not envelope.names(digest):
        raise DataError(f"{ATTESTATIONS}/{name} speaks of other bytes than this bundle's ({digest}); do not rely on it")


def _files(folder: Path) -> Iterator[str]:
    """The files of the folder. Raises DataError at a link or at a file that has no business there."""
    for path in _below(folder):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise DataError(f"{path} is a link or no plain file, which a bundle never holds; do not use this bundle")
        known = name in (RELEASE_NAME, OPENSSF_NAME) or (name.startswith("keys/") and name.endswith(PUBLIC_SUFFIX))
        if not known and not (name.startswith(("provenance/", "verification/")) and name.endswith(SUFFIX)):
            raise DataError(f"{ATTESTATIONS}/{name} is no attestation and not part of the root; remove it")
        yield name


def _below(folder: Path) -> Iterable[Path]:
    if folder.is_symlink():
        raise DataError(f"{folder} is a link, which a bundle never holds; do not use this bundle")
    return folder.rglob("*")


def _sign(path: Path, payload: bytes, key: Ed25519PrivateKey) -> None:
    if not path.exists():
        _write(path, seal(payload, key).to_json())
        return
    envelope = read_envelope(path)
    if envelope.payload != payload:
        raise DataError(f"{path} signs something else than this bundle; move it away and sign again")
    _write(path, envelope.with_signature(key).to_json())


def _keep_key(folder: Path, key: Ed25519PublicKey) -> None:
    _write(folder / "keys" / f"{key_id(key)[:SHORT_ID_DIGITS]}{PUBLIC_SUFFIX}", to_pem(key))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
