"""A rank of our trainer, as `python -m train run` is: `python -m benchmarks.ours RECIPE MEMORY`, started by train.py.

Beside the run's own journal, each rank writes the most memory that it held to MEMORY-rankN.json.
"""

import json
import os
import sys
from pathlib import Path

from benchmarks.memory import peak_bytes
from train.run import main


def run() -> None:
    """Train, then tell of the memory."""
    recipe, memory = sys.argv[1:]
    main([recipe])
    rank = os.environ.get("RANK", "0")
    Path(f"{memory}-rank{rank}.json").write_text(json.dumps(peak_bytes()), encoding="utf-8")


if __name__ == "__main__":
    run()
