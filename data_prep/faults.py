"""Names the first bad row of files that failed the checks.

The engine reads and checks in bulk and only knows *that* something is wrong. This module scans the
files again, row by row and in constant memory, to say *where*.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq

from data_prep.sources import DAMAGED_GZIP, Source, open_bytes

_SHOWN = 60  # Characters of a received value that a message repeats.


def first_fault(sources: Iterable[Source]) -> str | None:
    """Finds the first row that cannot be an interaction.

    Args:
      sources: the files, in the order in which to look.

    Returns:
      A message with file, line and value, or `None` where every row looks right.
    """
    for source in sources:
        fault = _parquet_fault(source) if source.parquet else _text_fault(source)
        if fault is not None:
            return f"{source.label}: {fault}"
    return None


def _text_fault(source: Source) -> str | None:
    position = _Position()
    try:
        with open_bytes(source.path, source.gzipped) as file:
            reader = csv.reader(_lines(file, position), delimiter=source.separator, strict=True)
            if source.header:
                next(reader, None)
            while True:
                # A quoted field may hold line ends: the row is named by the line it starts on.
                start = reader.line_num + 1
                row = next(reader, None)
                if row is None:
                    return None
                if row and (fault := _row_fault(row, source)) is not None:
                    return f"line {start} {fault}"
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return f"line {position.line} is not UTF-8 (byte {byte:#04x}); save the file as UTF-8."
    except DAMAGED_GZIP:
        return f"the gzip data is damaged or cut off after line {position.line}; fetch it again."
    except csv.Error as error:
        return f"line {start} has broken quoting ({error}); close or double the quotes."


class _Position:
    """The last line that was read, kept where an exception cannot lose it."""

    line = 0


def _lines(file: Iterable[bytes], position: _Position) -> Iterator[str]:
    for raw in file:
        position.line += 1
        yield raw.decode("utf-8-sig" if position.line == 1 else "utf-8")


def _row_fault(row: list[str], source: Source) -> str | None:
    if len(row) != len(source.columns):
        return (
            f"has {len(row)} fields where {len(source.columns)} are expected "
            f"({', '.join(source.columns)}); correct or remove the line."
        )
    return _values_fault({role: row[i] for role, i in source.mapping}, source)


def _parquet_fault(source: Source) -> str | None:
    number = 0
    names = {role: source.columns[i] for role, i in source.mapping}
    for batch in pq.ParquetFile(source.path).iter_batches(columns=list(set(names.values()))):
        for row in batch.to_pylist():
            number += 1
            fault = _values_fault({role: row[name] for role, name in names.items()}, source)
            if fault is not None:
                return f"row {number} {fault}"
    return None


def _values_fault(values: dict[str, Any], source: Source) -> str | None:
    names = {role: source.columns[i] for role, i in source.mapping}
    for role, value in values.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"has an empty {role} (column '{names[role]}'); fill it in or remove the line."
    timestamp = values["timestamp"]
    if isinstance(timestamp, (str, int, float)) and not _is_time(timestamp):
        return (
            f"has the timestamp '{str(timestamp)[:_SHOWN]}' (column '{names['timestamp']}'); "
            "expected a finite number, such as seconds since 1970."
        )
    return None


def _is_time(value: str | float) -> bool:
    # Python reads digits of every script, the engine only ASCII.
    if isinstance(value, str) and not value.isascii():
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False
