"""Columns of Arrow types that are stored but not computed with, as types that are."""

from __future__ import annotations

import pyarrow as pa

from data_prep.read.items.kinds import is_list


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in a type that Arrow computes with, which is not every one that it stores."""
    kind = _plain_type(values.type)
    if kind == values.type:
        return values
    return values.cast(kind, safe=False)  # Nanoseconds are cut off.


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Values for codes, strings for views; durations and times of day in microseconds."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if is_list(kind) and (value := _plain_type(kind.value_type)) != kind.value_type:
        return pa.large_list(value)
    return kind
