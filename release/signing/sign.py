"""Verb sign: signs a bundle's root and the provenance of its stages.

usage: python -m release sign BUNDLE --key KEY [--openssf EC_KEY]

The bundle is hashed first: what is not whole is not signed. `--openssf` adds a signature that OpenSSF's model-signing
checks, over every file but the attestations; it needs that package and a P-256 key, which it has no way around.
"""

import sys
from pathlib import Path

from core.arguments import Parser
from core.artifact import ATTESTATIONS
from core.errors import ConfigError
from release import checks
from release.contents import Bundle, open_bundle
from release.signing.attestations import OPENSSF_NAME, write_release
from release.signing.keys import key_id, read_private
from release.signing.statements import SAYS

PACKAGES = "model-signing==1.1.1 pyOpenSSL"


def main(arguments: list[str]) -> None:
    """Run the verb: write where the signature lies, and what it says."""
    parser = Parser("python -m release sign BUNDLE --key KEY [--openssf EC_KEY]")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--openssf", type=Path)
    given = parser.parse_args(arguments)
    bundle, key = open_bundle(given.bundle), read_private(given.key)
    checks.integrity(bundle)
    path = write_release(bundle, key)
    sys.stdout.write(f"{path}\nroot {bundle.root}\nkey id {key_id(key.public_key())}\nit says: {SAYS}\n")
    if given.openssf:
        sys.stdout.write(f"{write_openssf(bundle, given.openssf)}\n")


def write_openssf(bundle: Bundle, key: Path) -> Path:
    """Sign with OpenSSF's model-signing. Raises ConfigError if the package is missing or refuses the key."""
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise ConfigError(
            f"--openssf needs a package that is not installed ({error.name}); pip install {PACKAGES}"
        ) from error
    outside = bundle.folder / ATTESTATIONS
    path = outside / OPENSSF_NAME
    # The list of what is left out is itself signed, and model-signing obeys it: a verifier should look at it.
    config = hashing.Config().set_ignored_paths(paths=[outside], ignore_git_paths=False)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(config)
        signer.sign(bundle.folder, path)
    except (ValueError, OSError, AttributeError) as error:
        raise ConfigError(f"model-signing cannot sign with {key}: {error}; give a P-256 key in PEM") from error
    return path
