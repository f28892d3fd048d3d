"""Reads files with DuckDB, in bulk where that can be.

Those that it does not take, or in which it finds a row that is no interaction, are read a second
time in a way that tells lines: text by `text_records`, Parquet by its row numbers.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.dataset

from data_prep.engines.duckdb import DuckDB
from data_prep.errors import InputError
from data_prep.read.row_checks import fault
from data_prep.read.sources import INT96, ROLES, Source
from data_prep.read.text_records import records
from data_prep.read.values import COLUMNS, meaning

_BATCH = 20_000
_RAW = [f"raw_{role}" for role in ROLES]
_RECORDS = pa.schema(
    [(name, pa.string()) for name in _RAW]
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
    # Asked of rows that are held: of those in a Parquet file DuckDB believes its statistics, which
    # leave out NaN.
    if engine.value(fault(rows).notnull().any()):
        engine.release(rows)
        return None
    return rows


def _sound(engine: DuckDB, source: Source) -> bool:
    """Tells whether the engine takes one file and finds no fault."""
    rows = _whole(engine, source.shape, {0: source})
    if rows is not None:
        engine.release(rows)
    return rows is not None


def _refused(error: duckdb.Error) -> bool:
    """Tells whether an error is a file's fault; a full disk, for one, is not."""
    kinds = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    # Garbage in a Parquet file may end in an error of no kind at all.
    return isinstance(error, kinds) or type(error) is duckdb.Error


def scan(engine: DuckDB, shape: Source, files: Mapping[int, Source]) -> ir.Table:
    """All rows of files of one shape, in bulk, as `values.COLUMNS`."""
    paths = [source.path for source in files.values()]
    return meaning(engine, _raw(_table(engine, shape, paths), shape)).select(*COLUMNS)


def _table(engine: DuckDB, shape: Source, paths: Sequence[Path]) -> ir.Table:
    """The columns of files, by number: names may repeat, or differ in case alone."""
    files = [glob.escape(str(path)) for path in paths]  # The engine expands patterns by itself.
    compression = "gzip" if shape.gzipped else "none"
    # Nothing is left to the engine's guesses: not types by a sample, nor columns by folders' names.
    if INT96 in shape.types:
        table = _by_arrow(engine, paths)
    elif shape.parquet:
        table = engine.backend.read_parquet(files, hive_partitioning=False)
    elif shape.json:
        table = engine.backend.read_json(
            files,
            columns=dict.fromkeys(shape.columns, "VARCHAR"),
            format="newline_delimited",
            auto_detect=False,
            compression=compression,
            hive_partitioning=False,
        )
    else:
        table = engine.backend.read_csv(
            files,
            columns={_column(i): "VARCHAR" for i in range(len(shape.columns))},
            auto_detect=False,
            header=shape.header,
            delim=shape.separator,
            quote='"',
            escape='"',
            compression=compression,
            hive_partitioning=False,
        )
    return table.select(**{_column(i): table[name] for i, name in enumerate(table.columns)})


def _by_arrow(engine: DuckDB, paths: Sequence[Path]) -> ir.Table:
    """Parquet files read by Arrow, of whose old timestamps DuckDB would cut the nanoseconds."""
    name = ibis.util.gen_name("data_prep")
    engine.backend.con.register(name, pyarrow.dataset.dataset(list(map(str, paths))))
    return engine.backend.table(name)


def _raw(table: ir.Table, shape: Source) -> ir.Table:
    values: dict[str, ir.Value] = {}
    for role, i in shape.mapping:
        known = not shape.types or shape.types[i] != "null"
        values[role] = table[_column(i)] if known else ibis.null("string")
    if shape.domain is not None:
        values["domain"] = ibis.literal(shape.domain)
    return table.select(**{f"raw_{role}": values[role] for role in ROLES})


def _parquet_rows(
    engine: DuckDB, shape: Source, files: Mapping[int, Source]
) -> tuple[ir.Table, ir.Table]:
    held: list[ir.Table] = []
    for number, source in files.items():
        # Numbered as they come, which is the file's order.
        rows = meaning(engine, _raw(_table(engine, shape, [source.path]), shape))
        rows = engine.hold(rows.mutate(line=ibis.row_number() + 1))
        reason = fault(rows)
        shown = ibis.literal(",").join([rows[name].cast("string").fill_null("") for name in _RAW])
        listed = rows.mutate(reason=reason, text=shown, source=ibis.literal(number, "int64"))
        bad = listed.filter(reason.notnull()).select("source", "line", "reason", "text")
        parts = (rows.filter(reason.isnull()).select(*COLUMNS), bad)
        if held:
            for table, part in zip(held, parts, strict=True):
                engine.append(table, part)
        else:
            held = [engine.hold(part) for part in parts]
        engine.release(rows)
    usable, unusable = held
    return usable, unusable


def _text_rows(
    engine: DuckDB, shape: Source, files: Mapping[int, Source]
) -> tuple[ir.Table, ir.Table]:
    reader = pa.RecordBatchReader.from_batches(_RECORDS, _record_batches(shape, files))
    raw = engine.table(reader)
    read = meaning(engine, raw)
    read = read.mutate(reason=ibis.coalesce(read.broken, fault(read)))
    rows = engine.hold(read.filter(read.reason.isnull()).select(*COLUMNS))
    bad = read.filter(read.reason.notnull()).select("source", "line", "reason", "text")
    bad = engine.hold(bad)
    engine.release(raw)
    return rows, bad


def _record_batches(shape: Source, files: Mapping[int, Source]) -> Iterator[pa.RecordBatch]:
    for number, source in files.items():
        columns: dict[str, list] = {name: [] for name in _RECORDS.names}
        for record in records(source):
            for role, name in zip(ROLES, _RAW, strict=True):
                columns[name].append(record.values.get(role))
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
        columns["raw_domain"] = [shape.domain] * size
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
    return f"column_{index}"
