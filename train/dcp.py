"""A checkpoint's tensors for torch.distributed.checkpoint (DCP), which a plain torch program loads at any world size.

Keys are `model.NAME` and, in the form of torch's own optimizers by name, `optimizer.state.NAME.MOMENT` with
`optimizer.state.NAME.step`, an fp32 scalar. DCP keeps its table in a pickle and checks no content: state.json holds the
hashes of its files, and import-state does not read them.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import save

from train.groups import MOMENT_PREFIXES
from train.store import MODEL, OPTIMIZER, Checkpoint


def write_dcp(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a verified checkpoint's tensors into an empty folder, from this process alone."""
    step = torch.tensor(float(checkpoint.position.step))
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(checkpoint.folder / OPTIMIZER).items():
        moment = next(prefix for prefix in MOMENT_PREFIXES if name.startswith(prefix)).removesuffix(".")
        moments.setdefault(name.removeprefix(f"{moment}."), {"step": step})[moment] = tensor
    state: dict[str, Any] = {"model": load_file(checkpoint.folder / MODEL), "optimizer": {"state": moments}}
    with warnings.catch_warnings():
        # That there is no process group is no news.
        warnings.filterwarnings("ignore", ".*assuming the intent is to save in a single process")
        save(state, checkpoint_id=folder, no_dist=True)
