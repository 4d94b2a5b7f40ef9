"""The documents that benchmarks work on: those of benchmarks/corpus.yaml, fetched by our own verb into runs/."""

import subprocess
import sys
from pathlib import Path

from core.codetree import ROOT
from tests.data.parity import Text
from tests.data.realtext import fetched_texts

RECIPE = ROOT / "benchmarks" / "corpus.yaml"


def fetched_folder() -> Path:
    """The fetch artifact of the corpus; what is there already is not fetched again. An error ends the process."""
    command = [sys.executable, "-m", "data", "fetch", str(RECIPE)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return Path(done.stdout.strip())


def fetch() -> dict[str, list[Text]]:
    """The distinct texts of every source in normal form, in the order of their SHA-256."""
    return fetched_texts(fetched_folder())
