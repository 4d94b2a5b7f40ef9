"""What a run's processes wrote to standard output and error, as a bundle's witness holds it.

The launcher keeps it in `<out>/stdout/` (launch/tee.py). Bars are left as the last line that was drawn; folders and
names of this machine become words, and what looks like a credential is taken out. It is no proof of anything: the
journals say the same with full numbers, and check `witness` holds those against the ledger.
"""

import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from core.codetree import ROOT

FOLDER = "stdout"
# Colours and cursor movements (ECMA-48, section 5.4).
DRAWN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# The group in front is kept.
SECRETS = (
    re.compile(r"(://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"(?i)(bearer )\S+"),
    re.compile(r"(?i)((?:token|password|passwd|secret|api_?key)[=:])\S+"),
    re.compile(r"()\b(?:hf_|ghp_|github_pat_|glpat-|AKIA|xox[abp]-)[A-Za-z0-9_-]{8,}"),
)
REMOVED = "[removed]"


def console_logs(out: Path) -> dict[str, Path]:
    """The kept output of a run's stages, by its place in the witness."""
    return {f"{FOLDER}/{path.name}": path for path in sorted((out / FOLDER).glob("*.log"))}


def cleaned(path: Path, *, out: Path) -> bytes:
    """The lines of kept output, as they may be passed on."""
    words = words_of(out)
    text = path.read_bytes().decode(errors="replace")
    return "".join(f"{clean(line, words)}\n" for line in text.split("\n") if line.strip()).encode()


def clean(line: str, words: Mapping[str, str]) -> str:
    """One line: what was drawn last, without what `words` replaces and without credentials."""
    said = DRAWN.sub("", line).rstrip("\r").rpartition("\r")[2]
    for secret in SECRETS:
        said = secret.sub(rf"\1{REMOVED}", said)
    for name, word in words.items():
        said = said.replace(name, word)
    return said


def words_of(out: Path) -> dict[str, str]:
    """What stands for this machine's folders and name, the longest first."""
    named = {
        str(out.resolve()): "RUN",
        str(ROOT): "CHECKOUT",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
        str(Path.home()): "HOME",
        tempfile.gettempdir(): "TMP",
        socket.gethostname(): "HOST",
    }
    return {name: named[name] for name in sorted(named, key=len, reverse=True) if len(name) > 1}
