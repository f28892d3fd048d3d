"""Reads files with DuckDB, in bulk where that can be.

Those that it does not take, or in which it finds a row that is no interaction, are read a second
time in a way that tells lines: text by `text_records`, Parquet by its row numbers.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from data_prep.engines.duckdb import DuckDB
from data_prep.errors import InputError
from data_prep.read.row_checks import fault
from data_prep.read.sources import INT96, ROLES, Source
from data_prep.read.text_records import records
from data_prep.read.values import COLUMNS, IDS, TRIMMED, meaning

_BATCH = 20_000
_AWKWARD = re.compile(r"[*?\[\\\ud800-\udfff]")
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
    if not shape.plain:
        return None
    try:
        rows = engine.hold(scan(engine, shape, files))
    except duckdb.Error as error:
        if not _refused(error):
            raise
        if isinstance(error, duckdb.ConversionException) and _in_milliseconds(shape):
            return None
        if shape.parquet:
            raise _damaged(engine, files, error) from error
        return None
    # Asked of rows that are held: of those in a Parquet file DuckDB believes its statistics, which
    # leave out NaN.
    doubt = fault(rows).notnull().any()
    if not shape.parquet:  # Files of text without rows are none of the sources.
        doubt |= (rows.count() < len(files)) | _quoted_behind_blanks(rows).any()
    if engine.value(doubt):
        engine.release(rows)
        return None
    return rows


def _quoted_behind_blanks(rows: ir.Table) -> ir.BooleanValue:
    """Of two blanks and a quote the engine makes a part of the text."""
    trimmed = (rows.notes & TRIMMED) > 0
    return trimmed & functools.reduce(
        operator.or_, [rows[role].startswith('"').fill_null(False) for role in IDS]
    )


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


def _table(engine: DuckDB, shape: Source, paths: Sequence[Path], far: bool = False) -> ir.Table:
    """The columns of files, by number: names may repeat, or differ in case alone.

    With `far` there may be milliseconds of years that the engine does not know.
    """
    files = [openable(engine, path) for path in paths]
    compression = "gzip" if shape.gzipped else "none"
    # Nothing is left to the engine's guesses: not types by a sample, nor columns by folders' names.
    if _time_type(shape) == INT96 or (far and _in_milliseconds(shape)):
        return _by_arrow(engine, shape, files)
    if shape.parquet:
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


def openable(engine: DuckDB, path: Path) -> str:
    """What the engine calls a file.

    It expands patterns and `~`, takes a backslash for a slash in them, and wants UTF-8. So a name
    with any of that gets a link with a plain one.
    """
    text = os.path.abspath(path)
    if not _AWKWARD.search(text):
        return text
    link = engine.folder / hashlib.sha256(os.fsencode(text)).hexdigest()
    if not link.is_symlink():
        link.symlink_to(text)
    return str(link)


def _time_type(shape: Source) -> str:
    return shape.types[dict(shape.mapping)["timestamp"]] if shape.parquet else ""


def _in_milliseconds(shape: Source) -> bool:
    return _time_type(shape).startswith("timestamp[ms")


def _by_arrow(engine: DuckDB, shape: Source, files: list[str]) -> ir.Table:
    """Parquet files read by Arrow: DuckDB would cut the nanoseconds of old timestamps.

    Timestamps that are too far for microseconds are infinite.
    """
    with pq.ParquetFile(files[0]) as file:
        fields = {i: file.schema_arrow.field(i) for _, i in shape.mapping}
    place = dict(shape.mapping)["timestamp"]
    unit = "ms" if _in_milliseconds(shape) else _old_unit(files, fields[place].name)
    fields[place] = fields[place].with_type(pa.timestamp(unit))
    # Names of other columns may repeat.
    rows = pyarrow.dataset.dataset(
        files,
        schema=pa.schema(fields.values()),
        format=pyarrow.dataset.ParquetFileFormat(
            coerce_int96_timestamp_unit="us" if unit == "us" else "ns"
        ),
    )
    name = ibis.util.gen_name("data_prep")
    engine.backend.con.register(name, rows)
    columns = dict(zip(fields, engine.backend.table(name).columns, strict=True))
    parts = []
    for i, column in columns.items():
        value = f'"{column.replace(chr(34), 2 * chr(34))}"'
        if i == place and unit == "ms":
            within = f"coalesce(TRY_CAST({value} AS TIMESTAMP), TIMESTAMP 'infinity')"
            value = f"CASE WHEN {value} IS NOT NULL THEN {within} END"
        parts.append(f"{value} AS {_column(i)}")
    return engine.view(f"SELECT {', '.join(parts)} FROM {name}")


def _old_unit(files: Sequence[str], name: str) -> str:
    """In which unit 64 bits hold all old timestamps, which have 96: `ns`, or `us` for far years.

    Raises:
      InputError: one is too far for nanoseconds, and one has some.
    """
    far = finer = False
    for file in files:
        units = [pq.ParquetFile(file, coerce_int96_timestamp_unit=u) for u in ("us", "ns")]
        for micros, nanos in zip(*(of.iter_batches(columns=[name]) for of in units), strict=True):
            whole, wrapped = (of[0].cast(pa.int64()).drop_null() for of in (micros, nanos))
            values = whole.to_numpy()
            far |= bool((np.abs(values) >= 2**63 // 1000).any())
            finer |= bool((wrapped.to_numpy() - values * 1000).any())
    if far and finer:
        raise InputError(
            f"{', '.join(map(str, files))}: column '{name}' has nanoseconds, and years for which "
            "64 bits do not hold them; write microseconds, or times as text of ISO 8601."
        )
    return "us" if far else "ns"


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
        rows = meaning(engine, _raw(_table(engine, shape, [source.path], far=True), shape))
        rows = engine.hold(rows.mutate(line=ibis.row_number() + 1))
        reason = fault(rows)
        shown = ibis.literal(",").join([_shown(rows, name) for name in _RAW])
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


def _shown(rows: ir.Table, name: str) -> ir.StringValue:
    text = rows[name].cast("string")
    kind = rows[name].type()
    if name == "raw_timestamp" and not (kind.is_numeric() or kind.is_string() or kind.is_binary()):
        # The engine has no text for the first moment of its type.
        text = ibis.ifelse(rows.timestamp.isinf(), "infinity", text)
    return text.fill_null("")


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
