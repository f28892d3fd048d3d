"""Small tables of the user's beside the log, whole in memory: what is known of items, allow lists.

Text files are read as the log's are: by DuckDB in bulk, and record by record where it refuses one,
to tell the line. All their values are text, and empty ones are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.read.sources import (
    HEADER_LINES,
    Source,
    head,
    header_of,
    is_parquet,
    is_plain,
)

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 500  # Characters of a list of columns that a message repeats.


def table_source(path: Path, label: str, wanted: Sequence[str] = ()) -> Source:
    """Learns the shape of a table.

    Args:
      path: CSV, TSV (or `;`-separated), plain or gzip, or Parquet.
      label: how to call it in a message, `--items items.csv`.
      wanted: columns that it has to have.

    Returns:
      The source; its mapping has all columns by their own names.

    Raises:
      InputError: it is not there, cannot be read, lacks a column or has one twice.
    """
    if not path.is_file():
        raise InputError(f"{label}: no such file")
    if is_parquet(path):
        source = _parquet_source(path, label)
    else:
        lines, gzipped = head(path, label, HEADER_LINES + 1)
        separator, names, _ = header_of(lines, {name: name for name in wanted}, label)
        plain = is_plain(lines[0], separator)
        source = Source(path, label, names, (), separator=separator, plain=plain, gzipped=gzipped)
    names = source.columns
    for name in wanted:
        if name not in names:
            there = ", ".join(map(repr, names))
            there = there if len(there) <= _SHOWN else there[:_SHOWN] + "…"
            raise InputError(f"{label}: has no column {name!r}, received {there}")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InputError(f"{label}: has {names.count(twice[0])} columns named '{twice[0]}'")
    return dataclasses.replace(source, mapping=tuple((name, i) for i, name in enumerate(names)))


def _parquet_source(path: Path, label: str) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not by its name, which Arrow may take for an address.
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            schema = file.schema_arrow
    except (OSError, pa.ArrowException) as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"{label}: is not a readable Parquet file ({detail})") from None
    names = tuple(name.strip() for name in schema.names)
    return Source(path, label, names, (), parquet=True, types=tuple(map(str, schema.types)))


def read_table(source: Source, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a table.

    Args:
      source: of `table_source`.
      columns: which of them, by default all.

    Returns:
      The columns in the order asked for, rows as in the file. Of a text file all are strings
      without blanks at their ends, of Parquet what they are there.

    Raises:
      InputError: it cannot be read; of a text file the line is told.
    """
    wanted = list(source.columns if columns is None else columns)
    found = _read_parquet(source) if source.parquet else _read_text(source)
    return found.select(wanted)


def read_texts(source: Source, columns: Sequence[str]) -> pa.Table:
    """The same as text, whatever the file: missing values are null.

    Raises:
      InputError: as `read_table`, or a column of Parquet is no text, nor can be written as one.
    """
    import pyarrow as pa

    table = read_table(source, columns)
    if not source.parquet:
        return table
    try:
        return pa.table({name: trimmed(table[name].cast(pa.string())) for name in columns})
    except pa.ArrowException as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"{source.label}: cannot be read as text ({detail})") from None


def trimmed(column: Any) -> Any:
    """Texts of Arrow without blanks at their ends; empty ones are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)


def _read_parquet(source: Source) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with source.path.open("rb") as handle, pq.ParquetFile(handle) as file:
            return file.read().rename_columns(list(source.columns))
    except (OSError, pa.ArrowException) as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"{source.label}: cannot be read ({detail})") from None


def _read_text(source: Source) -> pa.Table:
    import pyarrow as pa

    table = _by_engine(source) if source.plain else None
    if table is None:
        table = _by_record(source)
    return pa.table({name: trimmed(table[name]) for name in table.column_names})


def _by_engine(source: Source) -> pa.Table | None:
    """All rows in bulk; None where the engine refuses the file."""
    import duckdb

    from data_prep.engines.duckdb import connect
    from data_prep.read.file_scan import openable

    with connect() as engine:
        path = openable(engine, source.path).replace("'", "''")
        columns = ", ".join(f"'column_{i}': 'VARCHAR'" for i in range(len(source.columns)))
        compression = "gzip" if source.gzipped else "none"
        query = (
            f"SELECT * FROM read_csv('{path}', columns={{{columns}}}, auto_detect=false, "
            f"header=true, delim='{source.separator}', quote='\"', escape='\"', "
            f"compression='{compression}', hive_partitioning=false)"
        )
        try:
            return engine.backend.con.sql(query).to_arrow_table().rename_columns(source.columns)
        except (
            duckdb.InvalidInputException,
            duckdb.ConversionException,
            duckdb.IOException,
        ):
            return None


def _by_record(source: Source) -> pa.Table:
    """All rows one by one; raises InputError at the first that is none."""
    import pyarrow as pa

    from data_prep.read.text_records import records

    columns: dict[str, list[str | None]] = {name: [] for name in source.columns}
    for record in records(source):
        if record.fault is not None:
            raise InputError(
                f"{source.label}: line {record.line}: {record.fault} in '{record.text[:60]}'"
            )
        for name, values in columns.items():
            values.append(record.values[name])
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def place_of(source: Source, row: int) -> str:
    """Where a row is, for a message: `line 12` of a text file, `row 11` of Parquet.

    Args:
      source: of `table_source`.
      row: its number, from 0.
    """
    if source.parquet:
        return f"row {row + 1}"
    from data_prep.read.text_records import records

    for number, record in enumerate(records(source)):
        if number == row:
            return f"line {record.line}"
    return f"row {row + 1}"
