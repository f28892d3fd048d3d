"""Reads files with DuckDB, in bulk where that can be.

Those that it does not take, or in which it finds a row that is no interaction, are read a second
time in a way that tells lines: text by `text_records`, Parquet by its row numbers.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.engines.duckdb import DuckDB
from data_prep.errors import InputError
from data_prep.read.row_checks import fault, seconds
from data_prep.read.sources import ROLES, Source
from data_prep.read.text_records import records

_BATCH = 20_000
_FILE = "data_prep_file"  # A column that no file has.
_RECORDS = pa.schema(
    [(role, pa.string()) for role in ROLES]
    + [("source", pa.int64()), ("line", pa.int64()), ("text", pa.string()), ("broken", pa.string())]
)


def read_files(engine: DuckDB, sources: Sequence[Source]) -> tuple[list[ir.Table], list[ir.Table]]:
    """Reads all rows of all files.

    Args:
      engine: what reads.
      sources: the files.

    Returns:
      Tables of good rows and of bad ones, see `interactions.Reading`, that the engine holds.

    Raises:
      InputError: a Parquet file is damaged.
    """
    shapes: dict[Source, list[int]] = {}
    for number, source in enumerate(sources):
        shapes.setdefault(source.shape, []).append(number)
    rows, bad = [], []
    for shape, numbers in shapes.items():
        files = {number: sources[number] for number in numbers}
        whole = _whole(engine, shape, files)
        if whole is not None:
            rows.append(whole)
            continue
        sound = {n: s for n, s in files.items() if len(files) > 1 and _sound(engine, s)}
        if sound:
            rows.append(engine.hold(scan(engine, shape, sound)))
        faulty = {n: s for n, s in files.items() if n not in sound}
        by_line = _parquet_rows if shape.parquet else _text_rows
        usable, unusable = by_line(engine, shape, faulty)
        rows.append(usable)
        bad.append(unusable)
    return rows, bad


def _whole(engine: DuckDB, shape: Source, files: Mapping[int, Source]) -> ir.Table | None:
    """Holds the rows of files, unless a row is bad or the engine does not take a file."""
    try:
        rows = engine.hold(scan(engine, shape, files))
    except duckdb.Error as error:
        if not _refused(error):
            raise
        if shape.parquet:
            raise _damaged(engine, files, error) from error
        return None
    if engine.value(fault(rows).notnull().any()):
        engine.release(rows)
        return None
    return rows


def _sound(engine: DuckDB, source: Source) -> bool:
    """Tells whether the engine takes one file and finds no fault."""
    try:
        rows = scan(engine, source.shape, {0: source})
        return not engine.value(fault(rows).notnull().any())
    except duckdb.Error as error:
        if not _refused(error):
            raise
        return False


def _refused(error: duckdb.Error) -> bool:
    """Tells whether an error is a file's fault; a full disk, for one, is not."""
    kinds = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    # Garbage in a Parquet file may end in an error of no kind at all.
    return isinstance(error, kinds) or type(error) is duckdb.Error


def scan(engine: DuckDB, shape: Source, files: Mapping[int, Source]) -> ir.Table:
    """All rows of files of one shape, in bulk, with null for a timestamp that is no number."""
    raw = _raw(_columns(engine, shape, list(files.values())), shape)
    return _typed(raw)


def _columns(engine: DuckDB, shape: Source, sources: Sequence[Source], **parquet: Any) -> ir.Table:
    files = [glob.escape(str(s.path)) for s in sources]  # The engine expands patterns by itself.
    if shape.parquet:
        table = engine.backend.read_parquet(files, **parquet)
        return table.rename({_column(i): name for i, name in enumerate(shape.columns)})
    compression = "gzip" if shape.gzipped else "none"
    if shape.json:
        table = engine.backend.read_json(
            files,
            columns=dict.fromkeys(shape.columns, "VARCHAR"),
            format="newline_delimited",
            auto_detect=False,
            compression=compression,
        )
        return table.rename({_column(i): name for i, name in enumerate(shape.columns)})
    # Nothing is left to the engine's sniffer, which decides by a sample of the rows.
    return engine.backend.read_csv(
        files,
        columns={_column(i): "VARCHAR" for i in range(len(shape.columns))},
        auto_detect=False,
        header=shape.header,
        delim=shape.separator,
        quote='"',
        escape='"',
        compression=compression,
    )


def _raw(table: ir.Table, shape: Source, *more: str) -> ir.Table:
    """The columns of `ROLES` as the file has them, texts as text."""
    values: dict[str, ir.Value] = {role: table[_column(i)] for role, i in shape.mapping}
    if shape.domain is not None:
        values["domain"] = ibis.literal(shape.domain)
    for role in ("user_id", "item_id", "domain"):
        values[role] = values[role].cast("string")
    return table.select(*more, **{role: values[role] for role in ROLES})


def _typed(raw: ir.Table) -> ir.Table:
    return raw.select("user_id", "item_id", "domain", timestamp=seconds(raw.timestamp))


def _parquet_rows(
    engine: DuckDB, shape: Source, files: Mapping[int, Source]
) -> tuple[ir.Table, ir.Table]:
    table = _columns(engine, shape, list(files.values()), filename=_FILE, file_row_number=True)
    raw = _raw(table, shape, _FILE, "file_row_number")
    reason = fault(raw)
    rows = engine.hold(_typed(raw.filter(reason.isnull())))
    shown = ibis.literal(",").join([raw[role].cast("string").fill_null("") for role in ROLES])
    line = raw.file_row_number.cast("int64") + 1
    broken = raw.mutate(reason=reason, text=shown, line=line).filter(reason.notnull())
    paths = {_FILE: [str(s.path) for s in files.values()], "source": list(files)}
    numbered = broken.join(engine.table(pa.table(paths)), _FILE)
    return rows, engine.hold(numbered.select("source", "line", "reason", "text"))


def _text_rows(
    engine: DuckDB, shape: Source, files: Mapping[int, Source]
) -> tuple[ir.Table, ir.Table]:
    reader = pa.RecordBatchReader.from_batches(_RECORDS, _record_batches(shape, files))
    raw = engine.table(reader)
    reason = ibis.coalesce(raw.broken, fault(raw))
    rows = engine.hold(_typed(raw.filter(reason.isnull())))
    broken = raw.mutate(reason=reason)
    bad = broken.filter(broken.reason.notnull()).select("source", "line", "reason", "text")
    bad = engine.hold(bad)
    engine.release(raw)
    return rows, bad


def _record_batches(shape: Source, files: Mapping[int, Source]) -> Iterator[pa.RecordBatch]:
    for number, source in files.items():
        columns: dict[str, list] = {name: [] for name in _RECORDS.names}
        for record in records(source):
            for role in ROLES:
                columns[role].append(record.values.get(role))
            columns["line"].append(record.line)
            columns["text"].append(record.text)
            columns["broken"].append(record.fault)
            if len(columns["line"]) == _BATCH:
                yield _batch(columns, number, shape)
                columns = {name: [] for name in _RECORDS.names}
        yield _batch(columns, number, shape)


def _batch(columns: dict[str, list], number: int, shape: Source) -> pa.RecordBatch:
    size = len(columns["line"])
    columns["source"] = [number] * size
    if shape.domain is not None:
        columns["domain"] = [shape.domain] * size
    return pa.RecordBatch.from_pydict(columns, schema=_RECORDS)


def _damaged(engine: DuckDB, files: Mapping[int, Source], error: Exception) -> InputError:
    label = "The log"
    for source in files.values():
        try:
            engine.value(fault(scan(engine, source.shape, {0: source})).notnull().any())
        except duckdb.Error:
            label = source.label
            break
    detail = str(error).splitlines()[0]
    return InputError(f"{label}: cannot be read ({detail}); fetch or write it again.")


def _column(index: int) -> str:
    # Names of our own: a file may repeat a name or use one that differs in case alone.
    return f"column_{index}"
