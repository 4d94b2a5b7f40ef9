import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from data.reading.extract import OnError, Raw, ReadConfig
from tests.data.test_extract import PACKED, texts

DROP = ReadConfig(on_error=OnError.DROP)


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=700)
    return buffer.getvalue()


def test_csv_fields_in_quotes_hold_commas_quotes_and_line_ends() -> None:
    content = b'\xef\xbb\xbfid,text\r\n1,"one, ""two""\r\nthree"\r\n\r\n2,four\r\n'
    assert texts(content, "a.csv") == [Raw('one, "two"\nthree', "a.csv"), Raw("four", "a.csv")]
    assert texts(b"id\tbody\n1\tone, two\n", "a.tsv", ReadConfig(text_field="body")) == [Raw("one, two", "a.tsv")]


def test_a_field_of_a_megabyte_is_read() -> None:
    assert len(texts(b"text\n" + b"x" * 1_000_000 + b"\n", "a.csv")[0].text) == 1_000_000


@pytest.mark.parametrize(
    ("bad", "problem"),
    [(b"1,t\xffwo", "unreadable_utf8"), (b"1,two,three", "unreadable_csv"), (b'1,"two"2', "unreadable_csv")],
)
def test_a_bad_row_stops_with_file_and_line_or_is_counted(bad: bytes, problem: str) -> None:
    content = b"id,text\n0,one\n" + bad + b"\n2,three\n"
    with pytest.raises(DataError, match=rf"a\.csv line 3 is unreadable \({problem}\)"):
        texts(content, "a.csv")
    assert [(raw.problem or raw.text) for raw in texts(content, "a.csv", DROP)] == ["one", problem, "three"]


def test_a_quote_that_never_closes_is_one_unreadable_record_with_all_that_it_swallowed() -> None:
    found = texts(b'text\none\n"two\nthree\n', "a.csv", DROP)
    assert found == [Raw("one", "a.csv"), Raw('"two\nthree\n', "a.csv", "unreadable_csv")]


def test_a_table_without_the_column_is_an_error_even_where_bad_rows_are_dropped() -> None:
    for content, name in ((b"id,body\n1,x\n", "a.csv"), (parquet(pa.table({"id": [1], "body": ["x"]})), "a.parquet")):
        with pytest.raises(DataError, match=r"has the columns id, body.* set read\.text_field"):
            texts(content, name, DROP)


def test_parquet_gives_every_row_in_its_order() -> None:
    wanted = [f"text {number} é" for number in range(3000)]
    content = parquet(pa.table({"n": range(3000), "text": wanted}))
    assert [raw.text for raw in texts(content, "a.parquet")] == wanted
    for ending, pack in PACKED:
        assert [raw.text for raw in texts(pack(content), f"a.parquet{ending}")] == wanted


def test_a_parquet_row_without_text_names_its_number_or_is_counted() -> None:
    content = parquet(pa.table({"text": ["one", None, "three"]}))
    with pytest.raises(DataError, match=r"a\.parquet row 2 is unreadable \(no_text_field\)"):
        texts(content, "a.parquet")
    assert [raw.problem for raw in texts(content, "a.parquet", DROP)] == ["", "no_text_field", ""]
    assert texts(parquet(pa.table({"text": [b"\xff"]})), "a.parquet", DROP)[0].problem == "no_text_field"


def test_a_damaged_parquet_file_is_bad_data() -> None:
    content = parquet(pa.table({"text": ["one two three"] * 5000}))
    for damaged in (content[:-4], content[: len(content) // 2], b"", b"PAR1 no PAR1"):
        with pytest.raises(DataError, match="not a sound Parquet file"):
            texts(damaged, "a.parquet", DROP)
    with pytest.raises(DataError, match="damaged"):
        texts(gzip.compress(content)[:-4], "a.parquet.gz")
