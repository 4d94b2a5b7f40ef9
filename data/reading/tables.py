"""Records of tables: csv and tsv (RFC 4180, read strictly) and Parquet.

A record is a mapping of column to value. A row that cannot be read is a record with the reason, and the rows after it
are read on; a table without the wanted columns is an error, since none of its rows would have a text.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import IO, Any

from core.errors import DataError

BATCH_ROWS = 1024
NAMED_IN = "set read.text_field, or read.columns for conversations"

Lines = Iterator[tuple[int, str, bool]]
# A record or the characters of an unreadable one, where it stands, and the reason (else empty).
Row = tuple[dict[str, Any] | str, str, str]


def csv_rows(lines: Lines, *, name: str, columns: Sequence[str], delimiter: str, most_chars: int) -> Iterator[Row]:
    """Every row below the header; a field in quotes may hold line ends, and up to `most_chars` characters.

    Raises DataError if none of `columns` is there.
    """
    csv.field_size_limit(most_chars)
    seen: list[tuple[str, bool]] = []
    reader = csv.reader(_feed(lines, seen), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        seen.clear()
        where = f"{name} line {reader.line_num + 1}"
        try:
            values = next(reader)
            problem = ""
        except StopIteration:
            return
        except csv.Error:
            values, problem = [], "unreadable_csv"
        if not all(is_utf8 for _, is_utf8 in seen):
            problem = "unreadable_utf8"
        if header is None:
            header = _header(values, columns=columns, where=where)
        elif problem or (values and len(values) != len(header)):
            yield "".join(text for text, _ in seen), where, problem or "unreadable_csv"
        elif values:
            yield dict(zip(header, values, strict=True)), where, ""


def _feed(lines: Lines, seen: list[tuple[str, bool]]) -> Iterator[str]:
    for _, text, is_utf8 in lines:
        seen.append((f"{text}\n", is_utf8))
        yield f"{text}\n"


def _header(values: list[str], *, columns: Sequence[str], where: str) -> list[str]:
    if not set(columns) & set(values):
        raise DataError(f"{where} has the columns {', '.join(values)}, not {' or '.join(columns)}; {NAMED_IN}")
    return values


def parquet_rows(stream: IO[bytes], *, name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Every row of a Parquet file, which must be seekable, with those of the columns that it has.

    Raises DataError if it has none of them.
    """
    import pyarrow as pa  # a third of a second that only a Parquet source should pay
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(stream)
        there = [column for column in columns if column in table.schema_arrow.names]
        if not there:
            raise DataError(f"{name} has the columns {', '.join(table.schema_arrow.names)}; {NAMED_IN}")
        number = 0
        for batch in table.iter_batches(BATCH_ROWS, columns=there, use_threads=False):
            for record in batch.to_pylist():
                number += 1
                yield record, f"{name} row {number}", ""
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name} is not a sound Parquet file: {line}; get the file again") from error
