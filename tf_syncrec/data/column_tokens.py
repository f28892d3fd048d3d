"""What the cells of a column of items have in common with others: the tokens of each kind."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.read.items.kinds import Column
from tf_syncrec.data.text_tokens import Occurrences, stable_hashes, words_and_pairs

BINS = 10
MISSING = "missing"
_STEP = "\x1f"  # Between the steps of a path, which have none.


def tokens_of(column: Column, values: pa.Array, edges: np.ndarray) -> Occurrences:
    """Tokens of all cells.

    Args:
        column: what it is; no vector.
        values: `[rows]`, as `data_prep.read.items.cells` reads them.
        edges: of a number, see `edges_of`.

    Returns:
        Of a category the value; of tokens each; of a path each of its beginnings; of text its words
        and word pairs; of a number its bin, and that it is missing. A token may be found in a cell
        twice.
    """
    if column.kind == "number":
        return _bins(values, edges)
    if column.kind in ("text", "title"):
        return words_and_pairs(values)
    if column.kind == "category":
        rows = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False))
        return _of_texts(rows, values.drop_null())
    if column.kind == "path":
        return _beginnings(values)
    return _of_texts(pc.list_parent_indices(values).to_numpy(), values.flatten())


def edges_of(values: pa.Array, trained: np.ndarray) -> np.ndarray:
    """Bounds between bins of equal numbers of trained items, strictly increasing.

    Args:
        values: `[rows]` float64.
        trained: `[rows]` bool; where none of them has a value, all count.
    """
    known = pc.is_valid(values).to_numpy(zero_copy_only=False)
    chosen = known & trained if np.any(known & trained) else known
    if not chosen.any():
        return np.empty(0)
    numbers = values.to_numpy(zero_copy_only=False)[chosen]
    edges = np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS))
    return edges[edges > numbers.min()]  # Below the lowest there is nothing.


def _bins(values: pa.Array, edges: np.ndarray) -> Occurrences:
    numbers = values.to_numpy(zero_copy_only=False)
    # By place: bounds are others in each file, and `init_from` carries attributes by name.
    count = len(edges) + 1
    names = [f"{place} of {count}" for place in range(1, count + 1)]
    known = pc.is_valid(values).to_numpy(zero_copy_only=False)
    codes = np.full(len(numbers), len(names))
    codes[known] = np.searchsorted(edges, numbers[known], side="right")
    texts = pa.array([*names, MISSING])
    return _coded(np.arange(len(numbers)), codes, texts)


def _beginnings(values: pa.Array) -> Occurrences:
    # Arrow joins no large lists.
    joined = pc.binary_join(values.cast(pa.list_(pa.string())), _STEP).dictionary_encode()
    starts: dict[str, int] = {}
    of_path, sizes = [], []
    for path in joined.dictionary.to_pylist():
        steps = path.split(_STEP)
        found = (" > ".join(steps[:depth]) for depth in range(1, len(steps) + 1))
        of_path += [starts.setdefault(start, len(starts)) for start in found]
        sizes.append(len(steps))
    rows = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False))
    paths = joined.indices.drop_null().to_numpy()
    lengths = np.array(sizes, np.int64)
    begins = np.cumsum(lengths) - lengths
    many = lengths[paths]
    places = np.repeat(begins[paths] - (np.cumsum(many) - many), many) + np.arange(many.sum())
    codes = np.array(of_path, np.int64)[places]
    return _coded(np.repeat(rows, many), codes, pa.array(list(starts), pa.string()))


def _of_texts(rows: np.ndarray, texts: pa.Array) -> Occurrences:
    encoded = texts.dictionary_encode()
    return _coded(rows, encoded.indices.to_numpy(), encoded.dictionary)


def _coded(rows: np.ndarray, codes: np.ndarray, texts: pa.Array) -> Occurrences:
    keys = stable_hashes(texts.to_pylist())[codes]
    return Occurrences(rows, keys, texts, np.stack([codes, np.full(len(codes), -1)], axis=1))


IS_WEIGHTED: Callable[[str], bool] = frozenset(("tokens", "text", "title", "path")).__contains__
"""Kinds of which an item has several tokens: those that few items have count more."""
