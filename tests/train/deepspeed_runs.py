"""Runs on DeepSpeed's engine, several in one process: the groups that it keeps in its modules are forgotten between."""

from collections.abc import Sequence
from importlib.util import find_spec

import pytest

from train import run

needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="deepspeed is not installed; pip install deepspeed==0.19.8"
)


def main(arguments: Sequence[str]) -> None:
    """Verb `run`, and then as if DeepSpeed had just been imported."""
    run.main(arguments)
    from deepspeed.comm import comm
    from deepspeed.utils import groups

    comm.cdb = None
    for name, value in vars(groups).items():
        if name.startswith("_") and name.isupper():
            setattr(groups, name, {} if isinstance(value, dict) else None if not isinstance(value, str) else value)
