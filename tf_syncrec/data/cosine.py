"""Cosine similarity of the rows of a matrix, a block of rows at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

PAIRS_AT_ONCE = 2**22
"""Pairs of items counted at a time while fitting: some 200 MB, whatever the catalogue."""


class Rows(NamedTuple):
    """What items are compared by, one a row.

    Attributes:
        given: `[items + 1, any]`, most of it 0.
        vectors: `[items + 1, m]`, beside it; None: there are none.
    """

    given: sparse.csr_array
    vectors: np.ndarray | None = None

    def squares(self) -> np.ndarray:
        """Squared lengths, `[items + 1]`; of 0 and 1, how many there are."""
        found = self.given.power(2).sum(axis=1, dtype=np.float64)
        if self.vectors is not None:
            found = found + np.square(self.vectors, dtype=np.float64).sum(axis=1)
        return found


def nearest_lists(
    rows: Rows, others: np.ndarray, count: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of some items, of each item.

    Args:
        rows: what is compared.
        others: `[n]` ids, ascending.
        count: length of the lists.
        shrinkage: from 0; takes from similarities that little supports.

    Returns:
        Ids and similarities, `[items + 1, count]` int32 and float32, the most similar first (of
        equals, the one with the lower id), filled up with 0.
    """
    shape = (rows.given.shape[0], count)
    ids, values = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for start, _, row, other, value in blocks(rows, others, shrinkage, count):
        order = np.lexsort((other, -value, row))
        row, other, value = row[order], other[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        ids[start + row, place], values[start + row, place] = other, value
    return ids, values


def blocks(
    rows: Rows, others: np.ndarray, shrinkage: float, neighbours: int | None, least: float = 0.0
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
    """Similarities of all items to some, a block of rows at a time, the largest of each row.

    Args:
        rows: what is compared.
        others: `[n]` ids, ascending.
        shrinkage: from 0; takes from similarities that little supports.
        neighbours: how many of each row are kept; None: all.
        least: the least product of two rows, before it is divided, that counts.

    Yields:
        First row and the one after the last; and rows from 0, ids and similarities above 0,
        `[any]`, the last float32.
    """
    if not shrinkage >= 0:
        raise ValueError(f"shrinkage must be 0 or more. Received: {shrinkage}")
    squares = rows.squares()
    given = rows.given[others].T.tocsr()
    vectors = None if rows.vectors is None else rows.vectors[others].T
    if vectors is None:
        # How many pairs of interactions each row of the product is summed from.
        pairs = (rows.given != 0) @ np.diff(given.indptr).astype(np.float64)
    else:
        pairs = np.full(len(squares), len(others), np.float64)
    for start, stop in _row_blocks(pairs):
        product = rows.given[start:stop] @ given
        if vectors is None:
            shared = product.tocoo()
            row, column, value = shared.row, shared.col, shared.data
        else:
            assert rows.vectors is not None
            whole = product.toarray() + rows.vectors[start:stop] @ vectors
            lengths = np.sqrt(squares[start:stop, None] * squares[others]).astype(np.float32)
            row, column = _positive(whole / np.maximum(lengths, 1e-12), neighbours)
            value = whole[row, column]
        other = others[column]
        kept = row + start != other
        kept &= value >= least
        row, other = row[kept], other[kept]
        value = value[kept] / (np.sqrt(squares[row + start] * squares[other]) + shrinkage)
        value = value.astype(np.float32)
        if neighbours is not None:
            nearest = _nearest(row, other, value, neighbours)
            row, other, value = row[nearest], other[nearest], value[nearest]
        yield start, stop, row, other, value


def _positive(values: np.ndarray, neighbours: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of what is above 0; at least the largest of each row, and one more."""
    kept = values > 0
    if neighbours is not None and values.shape[1] > neighbours + 1:
        # One more, as an item is most like itself.
        kept &= values >= np.partition(values, -neighbours - 1, axis=1)[:, [-neighbours - 1]]
    row, column = np.nonzero(kept)
    return row, column


def _row_blocks(pairs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cuts rows into runs of about `PAIRS_AT_ONCE` pairs, or of one row."""
    block = (np.cumsum(pairs) // PAIRS_AT_ONCE).astype(np.int64)
    starts = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
    yield from zip(starts, [*starts[1:], len(pairs)], strict=True)


def _nearest(rows, columns, values, neighbours: int) -> np.ndarray:
    """Which entries are among the largest of their row, as a mask; values are float32, above 0."""
    counts = np.bincount(rows)
    if counts.max(initial=0) <= neighbours:
        return np.ones(len(rows), bool)
    # One number an entry, which falls with its value within a row: sorting numbers, and not places
    # by several columns, is a tenth of the time.
    keys = (rows.astype(np.uint64) << 32) | (0xFFFFFFFF - values.view(np.uint32))
    ordered = np.sort(keys)
    last = np.cumsum(counts) - counts + np.minimum(counts, neighbours) - 1
    mask = keys <= ordered[np.maximum(last, 0)][rows]
    # Of those that are as large as the last one, the first.
    left = np.flatnonzero(mask)
    crowded = left[np.bincount(rows[left])[rows[left]] > neighbours]
    order = crowded[np.lexsort((columns[crowded], keys[crowded]))]
    of_row = rows[order]
    mask[order] = np.arange(len(order)) - np.searchsorted(of_row, of_row) < neighbours
    return mask
