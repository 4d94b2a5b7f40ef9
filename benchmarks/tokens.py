"""Random tokens as a pack artifact for our trainer, and the same windows in the same order as one array for peers."""

import json
from pathlib import Path

import numpy as np

from benchmarks.cells import Size
from core.artifact import Artifact, build, plan
from core.hashing import canonical_json
from data.course import plan_course
from data.loader import Loader
from data.orderfile import describe, write_order
from data.packconfig import PackConfig
from data.shards import write_shards

SOURCE = "random"
VOCABULARY = {"bos_id": 1, "eos_id": 2, "tokenizer_sha256": "0" * 64}
FIRST_ID = 3


def write_pack(runs: Path, size: Size, *, steps: int) -> Artifact:
    """A pack artifact in `runs` of one document, long enough for so many steps: no window holds a second one."""

    def write(aside: Path) -> dict[str, str]:
        config = PackConfig(seed=1, seq_len=size.seq_len, weights={SOURCE: 1})
        count = steps * size.tokens + 1
        ids = np.random.default_rng(1).integers(FIRST_ID, size.vocab_size, count)
        tokens = np.concatenate([[VOCABULARY["bos_id"]], ids, [VOCABULARY["eos_id"]]])
        sidecars = write_shards(aside, SOURCE, [tokens], vocab_size=size.vocab_size, shard_tokens=len(tokens))
        record = plan_course(config, {}).record([describe(SOURCE, sidecars, seq_len=size.seq_len)])
        write_order(aside, {**VOCABULARY, "vocab_size": size.vocab_size, **record})
        return {"came_in": "numbers", "went_out": "tokens"}

    return build(plan("pack", folder="data", out=runs, config={"size": size.name, "steps": steps}, inputs={}), write)


def write_windows(path: Path, pack: Artifact, size: Size, *, steps: int) -> None:
    """Save an int64 array [steps, windows, T + 1]: what our trainer's steps see."""
    loader = Loader.open(pack.folder, micro_batches=1, micro_batch=size.windows)
    np.save(path, np.stack([loader.batch(step, 0) for step in range(1, steps + 1)]))


def write_recipe(path: Path, sections: dict[str, object]) -> None:
    """A recipe as a file: JSON is YAML."""
    path.write_bytes(canonical_json(json.loads(json.dumps(sections))))
