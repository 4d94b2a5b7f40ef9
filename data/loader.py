"""Batches as a pure function of the step: nothing is consumed, nothing need be saved, any rank may ask for any batch.

Reads a pack artifact (order.json and the shards it lists). Window w of a source is its tokens w*T .. w*T+T, both ends
included: T inputs and T targets, and windows share one token, so that every token but the first is a target once an
epoch.

What the trainer needs of a pack of conversations or pairs (data/chat.py, data/wholes.py; `pack.form`):
    loader.form                 Form.TEXT, Form.CONVERSATIONS or Form.PAIRS
    loader.rows                 rows of a batch for each of its B samples: 2 for pairs, else 1
    loader.batch(step, index)   ids [B, T+1]; of pairs [2B, T+1]: row 2b is sample b with the answer that was chosen,
                                row 2b+1 the same prompt with the one that was rejected
    loader.counted(step, index) which targets count, bool [B, T] or [2B, T], beside batch[:, 1:]; None of plain text,
                                where all do. Every row has at least one that counts. Padding, which is bos, never does
    loader.target_count(step)   how many targets of a whole step count, an exact int: of text M B T; of pairs those of
                                both answers. The same for every placement, since it is of the step and no rank's share
    loader.digest(step)         covers the ids, and of conversations and pairs the mask too
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.hashing import hash_value, sha256_hex
from data.chat import Form
from data.corpus.tombstones import refuse_redacted
from data.limits import check_run
from data.order import FORMAT, MASKED_FORMAT, Sample, StepShape, order_of, vectors
from data.shards import TokenStream, verify_shard
from data.wholes import WholeWindows, rows_of, verify_layout

RECORD = "order.json"


class Loader:
    """The batches of a pack artifact for steps of a fixed shape; made by `Loader.open`."""

    def __init__(self, folder: Path, record: dict[str, Any], *, root: str, shape: StepShape) -> None:
        self.root = root
        self.seq_len: int = record["seq_len"]
        self.bos_id: int = record["bos_id"]
        self.eos_id: int = record["eos_id"]
        self.vocab_size: int = record["vocab_size"]
        self.shape = shape
        self.form = form_of(record)
        self.rows = rows_of(self.form)
        self.tokenizer_sha256: str = record["tokenizer_sha256"]
        self.order = order_of(record)
        self._record = record
        self._streams: list[TokenStream] = []
        self._wholes: list[WholeWindows] = []
        for source in record["sources"]:
            if self.form is Form.TEXT:
                self._streams.append(TokenStream(folder, source["shards"]))
            else:
                whole = WholeWindows(folder, source, seq_len=self.seq_len, bos_id=self.bos_id, form=self.form)
                self._wholes.append(whole)

    @classmethod
    def open(cls, pack_folder: Path, *, micro_batches: int, micro_batch: int) -> "Loader":
        """Open a pack folder for steps of `micro_batches` micro-batches of `micro_batch` windows.

        Every shard is hashed and the order's test vectors are computed again. Raises DataError naming the file that is
        missing, damaged or redacted, or saying that this code orders data in another way; ConfigError for a shape below
        1 x 1.
        """
        shape = StepShape(micro_batches=micro_batches, micro_batch=micro_batch)
        record, root = read_record(pack_folder)
        check_vectors(record, pack_folder / RECORD)
        refuse_redacted(pack_folder, data_root=root)
        for source in record["sources"]:
            for sidecar in source["shards"]:
                verify_shard(pack_folder, sidecar)
            if form_of(record) is not Form.TEXT:
                verify_layout(pack_folder, source)
        return cls(pack_folder, record, root=root, shape=shape)

    def check_run(self, steps: int) -> None:
        """Raise ConfigError if a run of so many steps asks more of the sources than order.json allows."""
        check_run(self._record, self.order, samples=steps * self.shape.samples)

    def batch(self, step: int, index: int) -> NDArray[np.int64]:
        """The token ids [B, T+1] of a micro-batch, of pairs [2B, T+1]; steps count from 1, micro-batches from 0.

        Raises ConfigError if there is no such step or micro-batch.
        """
        batch = np.empty((self.shape.micro_batch * self.rows, self.seq_len + 1), dtype=np.int64)
        for row, sample in enumerate(self.samples(step, index)):
            if self.form is Form.TEXT:
                batch[row] = self._streams[sample.source].read(sample.window * self.seq_len, self.seq_len + 1)
            else:
                batch[row * self.rows : (row + 1) * self.rows] = self._wholes[sample.source].ids(sample.window)
        return batch

    def counted(self, step: int, index: int) -> NDArray[np.bool_] | None:
        """Which targets of `batch(step, index)` count, [B, T] or of pairs [2B, T]; None of plain text: all do."""
        if self.form is Form.TEXT:
            return None
        return np.concatenate([self._wholes[s.source].counted(s.window) for s in self.samples(step, index)])

    def target_count(self, step: int) -> int:
        """How many targets of a whole step count, those of all micro-batches together; at least one a row."""
        if self.form is Form.TEXT:
            return self.shape.samples * self.seq_len
        samples = (sample for index in range(self.shape.micro_batches) for sample in self.samples(step, index))
        return sum(self._wholes[sample.source].target_count(sample.window) for sample in samples)

    def whole(self, sample: Sample) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids and what counts of one sample of conversations or pairs, `rows` of them, whichever step it is of."""
        windows = self._wholes[sample.source]
        return windows.ids(sample.window), windows.counted(sample.window)

    def samples(self, step: int, index: int) -> list[Sample]:
        """The samples of a micro-batch."""
        return [self.order.sample(step, index, row, self.shape) for row in range(self.shape.micro_batch)]

    def digest(self, step: int) -> str:
        """SHA-256 over the token ids of a whole step, micro-batches in the order of their index, as 32-bit integers.

        Of conversations and pairs the mask of each micro-batch follows its ids, one byte a target.
        """
        digest = hashlib.sha256()
        for index in range(self.shape.micro_batches):
            digest.update(self.batch(step, index).astype("<u4").tobytes())
            counted = self.counted(step, index)
            if counted is not None:
                digest.update(counted.astype(np.uint8).tobytes())
        return digest.hexdigest()


def form_of(record: Mapping[str, Any]) -> Form:
    """What the windows that a record (order.json) orders are."""
    return Form(record.get("form", Form.TEXT.value))


def read_record(pack_folder: Path, *, name: str = RECORD) -> tuple[dict[str, Any], str]:
    """What order.json, or a copy of it by another name, says, and its SHA-256, the data root.

    Raises DataError if it is not there, of another format, or damaged: it holds the hash of the rest of itself.
    """
    path = pack_folder / name
    try:
        content = path.read_bytes()
        record = json.loads(content)
    except (OSError, ValueError) as error:
        raise DataError(f"no readable {name} in {pack_folder}: {error}; run stage pack first") from error
    if not isinstance(record, dict) or record.get("format") not in (FORMAT, MASKED_FORMAT):
        raise DataError(f"{path} is not a {FORMAT} record; pack again with this code")
    if record.pop("seal", None) != hash_value(record):
        raise DataError(f"{path} is damaged: its content does not have the hash that it names; pack again")
    return record, sha256_hex(content)


def check_vectors(record: Mapping[str, Any], path: Path) -> None:
    """Compute the test vectors of a record, read from `path`, again. Raises DataError if they come out otherwise."""
    if vectors(order_of(record)) != record["vectors"]:
        raise DataError(
            f"this code gives another data order than {path} was made with (its test vectors differ); "
            "use the code that made it, or pack again"
        )
