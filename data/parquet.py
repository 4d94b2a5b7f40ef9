"""Verbs to-parquet and from-parquet: document shards to Parquet and back, through Hugging Face `datasets`.

`python -m data to-parquet FOLDER OUT` writes a Parquet file for every shard (`*.jsonl` of documents) below FOLDER, and
`python -m data from-parquet FOLDER OUT` the other way round: the lines that come back are the lines that went in,
byte for byte and in their order. OUT must not exist; it appears when it is whole.

`datasets` is for exchange only: Parquet's bytes depend on the version of its library, so nothing hashes them.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.durable import commit_folder
from core.errors import ConfigError, DataError
from core.progress import Progress
from data.documents import FIELDS, Document, check_document, read_documents, write_documents

SHARD = ".jsonl"
PARQUET = ".parquet"
NO_DOCUMENTS = ("dropped.jsonl",)

Convert = Callable[[Path, Path], None]


def export_main(arguments: list[str]) -> None:
    """Run the verb to-parquet and write the new folder to standard output."""
    source, out = _folders(arguments, verb="to-parquet")
    convert_folder(source, out, endings=(SHARD, PARQUET), convert=export_shard)
    sys.stdout.write(f"{out}\n")


def import_main(arguments: list[str]) -> None:
    """Run the verb from-parquet and write the new folder to standard output."""
    source, out = _folders(arguments, verb="from-parquet")
    convert_folder(source, out, endings=(PARQUET, SHARD), convert=import_shard)
    sys.stdout.write(f"{out}\n")


def _folders(arguments: list[str], *, verb: str) -> tuple[Path, Path]:
    if len(arguments) != 2:
        raise ConfigError(f"{verb} takes two folders; usage: python -m data {verb} FOLDER OUT")
    return Path(arguments[0]), Path(arguments[1])


def convert_folder(source: Path, out: Path, *, endings: tuple[str, str], convert: Convert) -> None:
    """Convert every file of the first ending below `source` into one of the second at the same place in `out`.

    Raises DataError if there is none, ConfigError if `out` exists.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; name a folder that is to be made")
    paths = [path for path in sorted(source.rglob(f"*{endings[0]}")) if path.name not in NO_DOCUMENTS]
    if not paths:
        raise DataError(f"no *{endings[0]} below {source}; name a folder that holds some")
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    progress = Progress(f"convert {source.name}", total=len(paths), unit="files")
    for path in paths:
        target = (aside / path.relative_to(source)).with_suffix(endings[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        convert(path, target)
        progress.advance()
    commit_folder(aside, out)


def export_shard(path: Path, target: Path) -> None:
    """Write one document shard as Parquet."""
    from datasets import Dataset, Features, Value, disable_progress_bars

    disable_progress_bars()  # one bar a file would drown ours
    documents = list(read_documents(path))
    columns = {field: [getattr(document, field) for document in documents] for field in FIELDS}
    features = Features({field: Value("string") for field in FIELDS})
    Dataset.from_dict(columns, features=features).to_parquet(target)


def import_shard(path: Path, target: Path) -> None:
    """Write one Parquet file as a document shard. Raises DataError if a row is not a document."""
    write_documents(target, _rows(path))


def _rows(path: Path) -> Iterator[Document]:
    from datasets import load_dataset
    from pyarrow import ArrowException

    try:
        # Streaming reads the file where it lies; the cache then holds no more than a lock.
        with TemporaryDirectory() as cache:
            rows = load_dataset("parquet", data_files=str(path), split="train", streaming=True, cache_dir=cache)
            for number, row in enumerate(rows, start=1):
                yield _document(row, where=f"{path} row {number}")
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is not readable Parquet: {error}; export it again") from error


def _document(row: dict[str, Any], *, where: str) -> Document:
    missing = [field for field in FIELDS if field not in row]
    if missing:
        raise DataError(f"{where} has no column {missing[0]}; a document has {', '.join(FIELDS)}")
    return check_document(Document(**{field: row[field] for field in FIELDS}), where=where)
