"""The values of a column of items, by what the column is.

category, text, title: strings. number: float64. tokens, path: lists of strings, of a path from the
widest to the narrowest. vector: lists of float32 of one length. What is missing is null.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import InputError
from data_prep.read.items.kinds import NUMBER, Column, is_list, is_text
from data_prep.read.tables import trimmed


class BadCell(InputError):
    """A value that cannot be read; the message tells what was expected.

    Attributes:
      row: of the value, from 0.
    """

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


def read_cells(column: Column, values: pa.ChunkedArray) -> tuple[pa.Array, int]:
    """Reads a column.

    Args:
      column: what it is; not one to ignore.
      values: as the file has them.

    Returns:
      The values, and how many were there but are none of that kind, and count as missing.

    Raises:
      BadCell: a vector is of another length than the others, or not of numbers.
      InputError: the type of the column is not of that kind, or no value is.
    """
    whole = values.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # Of no chunks, or too much for one.
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    if column.kind == "number" and is_text(whole.type):
        whole = trimmed(whole.cast(pa.large_string()))
    readers = {"number": _numbers, "vector": _vectors, "tokens": _lists, "path": _lists}
    found = readers.get(column.kind, _texts)(column, whole)
    unread = found.null_count - whole.null_count if column.kind == "number" else 0
    if unread and unread == len(whole) - whole.null_count:
        raise InputError(f"column '{column.name}': none of its values is a number")
    return found, unread


def _texts(column: Column, values: pa.Array) -> pa.Array:
    if is_list(values.type) or pa.types.is_nested(values.type):
        raise _wrong_type(column, values.type)
    if is_text(values.type):
        return trimmed(values.cast(pa.large_string()))
    try:
        return values.cast(pa.large_string())
    except pa.ArrowException:
        raise _wrong_type(column, values.type) from None


def _numbers(column: Column, values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_nested(kind):
        raise _wrong_type(column, kind)
    if is_text(kind):
        right = pc.match_substring_regex(values, NUMBER)
        found = pc.if_else(right, values, pa.scalar(None, values.type)).cast(pa.float64())
    else:
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            values = values.cast(pa.timestamp("us"), safe=False)  # Nanoseconds are cut off.
        if pa.types.is_temporal(kind):
            values = values.cast(pa.int64())
        found = values.cast(pa.float64(), safe=False)  # The nearest one, beyond 2^53.
    return pc.if_else(pc.is_finite(found), found, pa.scalar(None, pa.float64()))


def _lists(column: Column, values: pa.Array) -> pa.Array:
    """Lists of texts without blanks at their ends; empty ones are null."""
    around = " \t\r\n"
    if is_list(values.type):
        if not is_text(values.type.value_type):
            raise _wrong_type(column, values.type)
        lists = values.cast(pa.large_list(pa.large_string()))
    elif pa.types.is_nested(values.type):
        raise _wrong_type(column, values.type)
    else:
        text = values.cast(pa.large_string())
        # As Python and JSON write lists: ['a', 'b'].
        bare = pc.replace_substring_regex(text, r"^\s*\[(.*)\]\s*$", r"\1")
        mark = column.separator or "\0"
        lists = pc.split_pattern(bare, mark).cast(pa.large_list(pa.large_string()))
        around += "'\""
    owners = pc.list_parent_indices(lists).to_numpy()
    parts = pc.utf8_trim(lists.flatten(), around)
    kept = pc.fill_null(pc.greater(pc.utf8_length(parts), 0), False)
    sizes = np.bincount(owners[kept.to_numpy(zero_copy_only=False)], minlength=len(values))
    return _list_array(sizes, parts.filter(kept))


def _vectors(column: Column, values: pa.Array) -> pa.Array:
    if is_list(values.type) and not is_text(values.type.value_type):
        numbers = pa.large_list(pa.float32())
        try:
            lists = values.cast(numbers)
        except pa.ArrowException:
            raise _wrong_type(column, values.type) from None
        parts = lists.flatten()
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    elif is_text(values.type):
        bare = pc.utf8_trim(values.cast(pa.large_string()), "[]() \t")
        lists = pc.split_pattern_regex(bare, r"[\s,;|]+")
        texts = lists.flatten()
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
        wrong = pc.invert(pc.match_substring_regex(texts, NUMBER)).to_numpy(zero_copy_only=False)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            row = int(np.searchsorted(sizes.cumsum(), place, side="right"))
            raise BadCell(
                row,
                f"column '{column.name}': expected a vector, such as [0.1, -2, 3], received "
                f"'{str(values[row])[:60]}'",
            )
        parts = texts.cast(pa.float32())
    else:
        raise _wrong_type(column, values.type)
    finite = pc.fill_null(pc.is_finite(parts), False).to_numpy(zero_copy_only=False)
    if not finite.all():
        row = int(np.searchsorted(sizes.cumsum(), np.flatnonzero(~finite)[0], side="right"))
        raise BadCell(row, f"column '{column.name}': the vector has a value that is no number")
    lengths = np.unique(sizes[sizes > 0])
    if len(lengths) > 1:
        most = int(np.bincount(sizes[sizes > 0]).argmax())
        row = int(np.flatnonzero((sizes > 0) & (sizes != most))[0])
        raise BadCell(
            row,
            f"column '{column.name}': expected a vector of {most} numbers, as the others are, "
            f"received {sizes[row]}",
        )
    return _list_array(sizes, parts)


def _list_array(sizes: np.ndarray, parts: pa.Array) -> pa.Array:
    """Lists by their sizes; empty ones are null."""
    offsets = pa.array(np.append(0, np.cumsum(sizes)).astype(np.int64))
    return pa.LargeListArray.from_arrays(offsets, parts, mask=pa.array(sizes == 0))


def _wrong_type(column: Column, kind: pa.DataType) -> InputError:
    return InputError(f"column '{column.name}' is of type {kind}, which is no {column.kind}")
