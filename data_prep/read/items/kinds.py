"""What a column of items is, seen from its values.

The rule, of which the first line that holds decides. Missing values say nothing.

1. No value at all: `ignore`.
2. A list of numbers, in Parquet or as text in brackets (`[0.1, -2, 3]`): `vector`.
3. A list of texts: `path` where each text of a list has nearly always the same one before it, else
   `tokens`. True or false: `category`. A date or a time: `number`.
4. Numbers: `category` where they are whole and have `FEW_NUMBERS` different values at most, or the
   column is called `id` or `..._id`; else `number`.
5. Called `title`, `name`, `product_name` or the like: `title`, which is text and what reports show.
6. Half of the values or more have a `>` or a `/`, and what stands before the first one repeats from
   value to value: `path`.
7. Values have a `|` or `;` (in 10 % of them) or a `,` (in 50 %), what stands between these is three
   words at most on average, each of it comes twice on average or more often, and there are no more
   different ones than values: `tokens`.
8. Half of the values or fewer are different, and they have ten words at most on average:
   `category`.
9. Three words or more on average: `text`.
10. Nine tenths of the values or fewer are different: `category`.
11. Else each item has a value of its own, which no other can share: `ignore`.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TITLES = ("title", "name", "product_title", "product_name", "item_title", "item_name")
FEW_NUMBERS = 20
_SAMPLE = 20_000  # Values that are looked at one by one.
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
NUMBER = f"^{_NUMBER}$"
"""A number as text, for Arrow."""
_BRACKETED = re.compile(rf"\[\s*{_NUMBER}(?:[\s,;]+{_NUMBER})+\s*\]")
_MOST = 0.95  # Of the values; some are always mistyped.
_STEPS, _MARKS = (">", "/"), {"|": 0.1, ";": 0.1, ",": 0.5}


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column is.

    Attributes:
      name: as the file has it.
      kind: one of `settings.ItemKind`.
      separator: of tokens or steps in a cell of text; "" where there is none.
    """

    name: str
    kind: str
    separator: str = ""


def column_of(name: str, values: pa.ChunkedArray, said: str | None = None) -> Column:
    """Sees what a column is.

    Args:
      name: of the column.
      values: all of them.
      said: its kind, where the user says it.
    """
    known = values.drop_null()
    sample = _sample(known)
    kind = said or _kind(name, known, sample)
    texts = [value for value in sample if isinstance(value, str)]
    separators = {"path": (*_STEPS, "|"), "tokens": tuple(_MARKS)}.get(kind, ())
    counts = {mark: sum(mark in text for text in texts) for mark in separators}
    best = max(counts, key=lambda mark: counts[mark], default="")
    return Column(name, kind, best if counts.get(best) else "")


def _sample(values: pa.ChunkedArray) -> list:
    """Up to `_SAMPLE` values, evenly from all of the column."""
    places = np.linspace(0, max(len(values) - 1, 0), min(len(values), _SAMPLE)).astype(np.int64)
    return values.take(pa.array(places)).to_pylist()


def _kind(name: str, values: pa.ChunkedArray, sample: list) -> str:
    kind = values.type
    if not len(values):
        return "ignore"
    if is_list(kind):
        if not is_text(kind.value_type):
            return "vector" if _is_number(kind.value_type) else "ignore"
        return "path" if _nested(sample) else "tokens"
    if pa.types.is_boolean(kind):
        return "category"
    if pa.types.is_temporal(kind):
        return "number"
    if _is_number(kind):
        return _of_numbers(name, values, pa.types.is_integer(kind))
    if not is_text(kind):
        return "ignore"
    return _of_text(name, values, sample)


def _of_text(name: str, values: pa.ChunkedArray, sample: Sequence[str]) -> str:
    if np.mean([_BRACKETED.fullmatch(value) is not None for value in sample]) >= _MOST:
        return "vector"
    if np.mean([re.fullmatch(_NUMBER, value) is not None for value in sample]) >= _MOST:
        whole = not any(re.search(r"[.eE]", value) for value in sample)
        return _of_numbers(name, values, whole)
    if name.strip().casefold().replace(" ", "_") in TITLES:
        return "title"
    if _are_paths(sample):
        return "path"
    if _are_tokens(sample):
        return "tokens"
    words = float(np.mean([len(value.split()) for value in sample]))
    different = pc.count_distinct(values).as_py() / len(values)
    if different <= 0.5 and words <= 10:
        return "category"
    if words >= 3:
        return "text"
    return "category" if different <= 0.9 else "ignore"


def _of_numbers(name: str, values: pa.ChunkedArray, whole: bool) -> str:
    named = re.search(r"(?:^|_)id$", name.strip().casefold()) is not None
    few = named or pc.count_distinct(values).as_py() <= FEW_NUMBERS
    return "category" if whole and few else "number"


def _nested(lists: Sequence[list[str]]) -> bool:
    """Whether what stands in a list says what stands before it."""
    steps = [pair for one in lists for pair in itertools.pairwise(one)]
    pairs = set(steps)
    children = {child for _, child in pairs}
    return len(steps) > len(pairs) > 0 and len(children) >= 0.9 * len(pairs)


def _are_paths(sample: Sequence[str]) -> bool:
    for step in _STEPS:
        split = [value.split(step, 1)[0].strip() for value in sample if step in value]
        if len(split) < 0.5 * len(sample) or any("://" in value for value in sample[:100]):
            continue
        lettered = sum(re.search(r"[^\W\d_]", first) is not None for first in split)
        if lettered >= 0.5 * len(split) and len(set(split)) <= 0.5 * len(split):
            return True
    return False


def _are_tokens(sample: Sequence[str]) -> bool:
    for mark, least in _MARKS.items():
        if sum(mark in value for value in sample) < max(least * len(sample), 1):
            continue
        parts = collections.Counter(
            part for value in sample for token in value.split(mark) if (part := token.strip())
        )
        total = sum(parts.values())
        words = sum(len(part.split()) * count for part, count in parts.items()) / max(total, 1)
        if words <= 3 and 2 * len(parts) <= total and len(parts) <= len(set(sample)):
            return True
    return False


def is_list(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are lists."""
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text, or codes of texts."""
    types = pa.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
