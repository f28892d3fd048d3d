"""Reads files of any supported shape into one uniform table of interactions."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Mapping, Sequence

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from data_prep.engine import hold
from data_prep.errors import InputError
from data_prep.faults import first_fault
from data_prep.sources import ROLES, Source, find_files, user_source


def user_sources(
    path: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> list[Source]:
    """Finds a user's own files and their shapes.

    Args:
      path: file, folder or glob; see `find_files`.
      columns: role to column name; see `user_source`.

    Returns:
      One source a file.

    Raises:
      InputError: a file cannot be read or lacks a column.
    """
    return [user_source(file, columns) for file in find_files(path)]


def read_interactions(connection: Backend, sources: Sequence[Source]) -> ir.Table:
    """Reads all rows of all files, or none.

    Args:
      connection: the engine.
      sources: the files; every file must hold at least one row.

    Returns:
      A table held by the engine: `user_id: string, item_id: string, domain: string,
      timestamp: float64`, no nulls. Timestamps keep the source's unit, except that Parquet dates
      and times become epoch seconds.

    Raises:
      InputError: a row cannot be used; the message names file and line.
    """
    shapes: dict[Source, list[str]] = {}
    for source in sources:
        shapes.setdefault(source.shape, []).append(str(source.path))
    try:
        parts = [_uniform(_scan(connection, s, paths), s) for s, paths in shapes.items()]
        rows = hold(connection, functools.reduce(lambda left, right: left.union(right), parts))
    except duckdb.Error as error:
        if (fault := first_fault(sources)) is not None:
            raise InputError(fault) from None
        if isinstance(error, (duckdb.InvalidInputException, duckdb.ConversionException)):
            detail = str(error).splitlines()[0]
            raise InputError(f"{sources[0].label}: cannot be read ({detail}).") from error
        raise  # Out of memory, disk full: not the input's fault.
    total, bad = _count(connection, rows)
    if bad:
        fault = first_fault(sources)
        raise InputError(fault or f"{sources[0].label}: {bad:,} rows have unusable values.")
    if not total:
        raise InputError(f"{sources[0].label}: has no rows; expected interactions.")
    return rows


def from_arrow(table: pa.Table) -> ir.Table:
    """Wraps interactions made in memory; columns as `read_interactions` returns them."""
    return ibis.memtable(table).select(*ROLES)


def _scan(connection: Backend, shape: Source, paths: list[str]) -> ir.Table:
    files = [glob.escape(path) for path in paths]  # The engine expands patterns by itself.
    if shape.parquet:
        table = connection.read_parquet(files)
        return table.rename({_column(i): name for i, name in enumerate(shape.columns)})
    # Nothing is left to the engine's sniffer, which decides by a sample of the rows.
    return connection.read_csv(
        files,
        columns={_column(i): "VARCHAR" for i in range(len(shape.columns))},
        auto_detect=False,
        header=shape.header,
        delim=shape.separator,
        quote='"',
        escape='"',
        compression="gzip" if shape.gzipped else "none",
    )


def _uniform(table: ir.Table, shape: Source) -> ir.Table:
    values: dict[str, ir.Value] = {role: table[_column(i)] for role, i in shape.mapping}
    if shape.domain is not None:
        values["domain"] = ibis.literal(shape.domain)
    values["timestamp"] = _seconds(values["timestamp"])
    for role in ("user_id", "item_id", "domain"):
        values[role] = values[role].cast("string")
    return table.select(**{role: values[role] for role in ROLES})


def _seconds(value: ir.Value) -> ir.Value:
    kind = value.type()
    if kind.is_timestamp() or kind.is_date():
        # Whole seconds and the fraction apart: engines differ in how they round an epoch.
        time = value.cast("timestamp")
        return time.truncate("s").epoch_seconds().cast("float64") + time.microsecond() / 1e6
    if kind.is_numeric():
        return value.cast("float64")
    return value.cast("string").try_cast("float64")


def _count(connection: Backend, rows: ir.Table) -> tuple[int, int]:
    time = rows.timestamp
    bad = time.isnull() | time.isnan() | time.isinf()
    for role in ("user_id", "item_id", "domain"):
        bad = bad | rows[role].isnull() | (rows[role].strip() == "")
    counts = rows.aggregate(total=rows.count(), bad=bad.sum())
    row = connection.to_pyarrow(counts).to_pylist()[0]
    return int(row["total"]), int(row["bad"] or 0)


def _column(index: int) -> str:
    # Names of our own: a file may repeat a name or use one that differs in case alone.
    return f"column_{index}"
