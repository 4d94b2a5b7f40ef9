"""Streams rows and files out of the Hugging Face hub, patiently, and says what is wrong in one line.

Rows that have arrived are written with the state of the stream every few thousand, so that a stream that breaks, in
this process or with it, is taken up from there (`IterableDataset.state_dict`): finished files are not asked for again.
`datasets` falls back to whatever it finds in its cache when the hub fails, of any revision: it gets an empty one.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import httpx2
import huggingface_hub
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from core.durable import write_durably
from core.errors import DataError, RetryError
from core.hashing import canonical_json, hash_value
from core.progress import Progress
from data.sources.download import Attempts

SAVE_ROWS = 2000
TIMEOUT_S = 60.0
PASSING = (408, 425, 429)
FAULTS = (httpx2.HTTPError, OSError, DatasetsError, ValueError, LookupError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows that are wanted: of which dataset at which revision, and the column that holds their text.

    columns  instead of that one: those of conversations or pairs, of which a dataset has some
    """

    repository: str
    revision: str
    config: str
    split: str
    data_files: tuple[str, ...]
    column: str
    rows: int
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository} at {self.revision}"

    @property
    def identity(self) -> str:
        """What a saved state belongs to: another version of `datasets` may mean another thing by it."""
        fields = [self.repository, self.revision, self.config, self.split, *self.data_files, self.column, *self.columns]
        return hash_value([*fields, str(datasets.__version__)])


@dataclass(slots=True)
class State:
    """How far a stream is: rows and bytes that are written, and what `datasets` needs to go on behind them."""

    rows: int = 0
    size: int = 0
    stream: dict[str, Any] | None = None


def receive_rows(split: Split, path: Path, *, attempts: Attempts) -> None:
    """Write a split's rows to `path`; what is there already, with its state beside it, is gone on with.

    Raises DataError if the dataset, its revision, split or column is not there or gated, RetryError if the hub keeps
    failing.
    """
    _quieten()
    saved = path.with_name(f"{path.name.removesuffix('.part')}.state")
    state = _read_state(saved, path, split)

    def act() -> None:
        with tempfile.TemporaryDirectory(prefix="wholegrain-hub-") as cache:
            _stream(split, path, saved, state, cache=Path(cache))

    try:
        _persist(act, what=str(split), attempts=attempts, progress=lambda: state.rows)
    except RetryError:
        raise
    except DataError:
        saved.unlink(missing_ok=True)
        raise
    saved.unlink(missing_ok=True)


def receive_file(name: str, path: Path, *, repository: str, revision: str, attempts: Attempts) -> None:
    """Write a file of a dataset's repository to `path`. Raises as `receive_rows` does."""
    _quieten()

    def act() -> None:
        with tempfile.TemporaryDirectory(prefix="wholegrain-hub-") as folder:
            found = huggingface_hub.hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, local_dir=folder
            )
            path.write_bytes(Path(found).read_bytes())

    _persist(act, what=f"{name} of {repository} at {revision}", attempts=attempts, progress=lambda: 0)


def _quieten() -> None:
    """Leave the terminal to our own lines, and the patience between attempts to our own setting."""
    datasets.disable_progress_bars()
    disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 1
    datasets.config.STREAMING_READ_RETRY_INTERVAL = datasets.config.STREAMING_OPEN_RETRY_INTERVAL = 0


def _read_state(saved: Path, path: Path, split: Split) -> State:
    """The state that was saved for these rows, the file cut back to it; a new one if there is none that fits."""
    try:
        record = json.loads(saved.read_bytes())
        state = State(record["rows"], record["size"], record["stream"])
        is_fitting = record["identity"] == split.identity and state.size <= path.stat().st_size
    except (OSError, ValueError, LookupError, TypeError):
        is_fitting = False
    return state if is_fitting else State()


def _stream(split: Split, path: Path, saved: Path, state: State, *, cache: Path) -> None:
    """Write rows from a state on, and bring the state forward as they are written."""
    # Asked first, because `datasets` loses the reason on its way.
    hub = huggingface_hub.HfApi()
    hub.dataset_info(split.repository, revision=split.revision, timeout=TIMEOUT_S)
    hub.auth_check(split.repository, repo_type="dataset")
    stream = datasets.load_dataset(
        split.repository,
        name=split.config or None,
        revision=split.revision,
        split=split.split,
        data_files=list(split.data_files) or None,
        streaming=True,
        cache_dir=str(cache),
    )
    # which of the columns of conversations a dataset has is seen at its rows
    stream = stream if split.columns else stream.select_columns([split.column])
    if state.stream:
        stream.load_state_dict(state.stream)
    left = split.rows - state.rows if split.rows else sys.maxsize
    progress = Progress(f"fetch {split.repository}", total=split.rows or sys.maxsize, unit="rows", done=state.rows)
    rows: Iterator[dict[str, Any]] = islice(iter(stream), left) if left else iter(())
    with path.open("r+b") as out:
        out.truncate(state.size)
        out.seek(state.size)
        while lines := [_line(row, split) for row in islice(rows, SAVE_ROWS)]:
            out.writelines(lines)
            out.flush()
            state.rows, state.size, state.stream = state.rows + len(lines), out.tell(), stream.state_dict()
            record = {"identity": split.identity, "rows": state.rows, "size": state.size, "stream": state.stream}
            write_durably(saved, canonical_json(record))
            progress.advance(len(lines))


def _line(row: dict[str, Any], split: Split) -> bytes:
    if split.columns:
        there = {column: row[column] for column in split.columns if row.get(column) is not None}
        if not set(split.columns) & row.keys():
            raise DataError(f"{split} has the columns {', '.join(row)}, none of a conversation; set read.columns")
        return canonical_json(there) + b"\n"
    text = row[split.column]
    if not isinstance(text, str | None):
        kind = type(text).__name__
        raise DataError(f"{split} has {kind} in column {split.column}, not text; set read.text_field")
    return canonical_json({split.column: text}) + b"\n"


def _persist(act: Callable[[], None], *, what: str, attempts: Attempts, progress: Callable[[], int]) -> None:
    """Act, and act again after a fault that may pass; an attempt that made progress does not count."""
    number, best = 0, progress()
    while True:
        try:
            act()
            return
        except FAULTS as error:
            _check_passing(error, what=what)
            number, best = (1, progress()) if progress() > best else (number + 1, best)
            if number >= attempts.count:
                raise RetryError(
                    f"{what} could not be fetched from the hub in {attempts.count} attempts, last: {_kind(error)}; "
                    "try again later"
                ) from error
            time.sleep(attempts.pause_s(number))


def _check_passing(error: Exception, *, what: str) -> None:
    """Raise DataError for a fault that will be there tomorrow."""
    chain = list(_causes(error))
    if found := _first(chain, GatedRepoError):
        status = found.response.status_code
        raise DataError(
            f"{what} is gated (HTTP status {status}): accept its terms at the hub, and log in: hf auth login"
        ) from error
    if _first(chain, RevisionNotFoundError):
        raise DataError(f"{what} is gone: the repository has no such revision; take another, and its hash") from error
    if _first(chain, RepositoryNotFoundError):
        raise DataError(f"{what} is gone: the hub has no such dataset, or not for you; take another source") from error
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        raise DataError(f"{what} is gone: the revision has no such file; correct its name") from error
    # `datasets` also asks for files that a repository need not have: an answer that there is none explains nothing.
    answers = [one for one in chain if isinstance(one, HfHubHTTPError) and not isinstance(one, EntryNotFoundError)]
    if answers and (status := answers[0].response.status_code) < 500 and status not in PASSING:
        raise DataError(f"{what} is refused with HTTP status {status}; check its access") from error
    if answers or any(isinstance(one, httpx2.TransportError | ConnectionError | TimeoutError) for one in chain):
        return
    if isinstance(error, OSError) and not isinstance(error, DatasetsError | FileNotFoundError):
        return
    raise DataError(f"{what} cannot be read: {' '.join(str(error).split())[:300]}; correct the source") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first(chain: list[BaseException], kind: type[HfHubHTTPError]) -> HfHubHTTPError | None:
    return next((one for one in chain if isinstance(one, kind)), None)


def _kind(error: Exception) -> str:
    """What happened, without the address."""
    answered = _first(list(_causes(error)), HfHubHTTPError)
    return f"HTTP status {answered.response.status_code}" if answered else type(error).__name__
