"""Which items are similar: cosine over training users, or over what is known of items."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences

PAIRS_AT_ONCE = 2**22
"""Pairs of items counted at a time while fitting: some 200 MB, whatever the catalogue."""

LIKENESS_PAIRS = 2e9
"""Pairs of items with an attribute in common that are looked at: half a minute."""

VECTOR_PAIRS = 4e9
"""Pairs of items that are compared by their vectors, all with all: a minute or two."""

Attributes = tuple[sparse.csr_array, np.ndarray | None]
"""What is compared of items: `[items + 1, attributes]`, and vectors `[items + 1, m]` or None."""

USERS_AT_ONCE = 8192
"""Training rows read at a time."""


def user_item_counts(prepared: Sequences) -> sparse.csr_array:
    """How often who had what in training, `[users, items + 1]` float32, by item id."""
    lengths, items = [], []
    for rows in prepared.as_dataset("train").ragged_batch(USERS_AT_ONCE):
        lengths.append(rows["items"].row_lengths().numpy())
        items.append(rows["items"].flat_values.numpy())
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    ids = np.concatenate(items)
    shape = (len(starts) - 1, prepared.catalogue.num_items + 1)
    matrix = sparse.csr_array((np.ones(len(ids), np.float32), ids, starts), shape=shape)
    matrix.sum_duplicates()
    return matrix


def user_items(prepared: Sequences) -> sparse.csr_array:
    """Who had what in training, however often: `[users, items + 1]` of 0 and 1, by item id."""
    matrix = user_item_counts(prepared)
    matrix.data[:] = 1.0
    return matrix


class _Rows(NamedTuple):
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


def similarities(
    interactions: sparse.csr_array,
    catalogue: Catalogue,
    shrinkage: float = 0.0,
    neighbours: int | None = None,
) -> list[sparse.csr_array]:
    """Cosine similarity of items over their users, `co / (sqrt(n_i n_j) + shrinkage)`.

    An item is no neighbour of itself. Counted in blocks of rows: memory is that of the result and
    of `PAIRS_AT_ONCE` pairs, never items x items.

    Args:
        interactions: `[users, items + 1]` of 0 and 1, from `user_items`.
        catalogue: items and domains.
        shrinkage: from 0; takes from similarities that few users support.
        neighbours: the most similar items kept for each item in each domain (of equals, those with
            the lower ids); None keeps all.

    Returns:
        One `[items + 1, size]` float32 a domain: similarity of any item to the domain's items.
    """
    return _by_domain(_Rows(interactions.T.tocsr()), catalogue, shrinkage, neighbours)


def similar_items(
    interactions: sparse.csr_array, count: int, shrinkage: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar items of each item, of whatever domain.

    Args:
        interactions: as in `similarities`.
        count: length of the lists.
        shrinkage: as in `similarities`.

    Returns:
        Ids and similarities, `[items + 1, count]` int32 and float32, the most similar first (of
        equals, the one with the lower id), filled up with 0. Nothing else grows with the items.
    """
    rows = _Rows(interactions.T.tocsr())
    return _lists(rows, np.arange(1, rows.given.shape[0]), count, shrinkage)


def likenesses(
    attributes: Attributes, catalogue: Catalogue, neighbours: int | None = None
) -> list[sparse.csr_array]:
    """Cosine similarity of items over what is known of them.

    Attributes of very many items say next to nothing and cost the square of their number, so the
    commonest are left out, until there are `LIKENESS_PAIRS` pairs at most. Vectors tell of all
    pairs; of more than `VECTOR_PAIRS` they are left out, with a warning.

    Args:
        attributes: of `data.item_attributes.compared`.
        catalogue: items and domains.
        neighbours: as in `similarities`.

    Returns:
        As `similarities`.
    """
    rows = _telling(attributes, catalogue.num_items)
    return _by_domain(rows, catalogue, 0.0, neighbours)


def like_items(
    attributes: Attributes, count: int, listed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The items that are most like each item, of whatever domain.

    Args:
        attributes: as in `likenesses`.
        count: length of the lists.
        listed: `[items + 1]` bool, which may be in a list.

    Returns:
        As `similar_items`.
    """
    others = np.flatnonzero(listed)
    return _lists(_telling(attributes, len(others)), others, count, 0.0)


def _telling(attributes: Attributes, others: int) -> _Rows:
    """Without attributes that too many items have, and without vectors of too many pairs.

    Args:
        attributes: as in `likenesses`.
        others: number of items with which all are compared.
    """
    given, vectors = attributes
    if vectors is not None and given.shape[0] * others > VECTOR_PAIRS:
        warnings.warn(
            f"likeness of items: {given.shape[0] - 1:,} items are too many to compare all of them "
            "by their vectors; attributes alone are compared",
            stacklevel=3,
        )
        vectors = None
    held = np.bincount(given.indices, minlength=given.shape[1]).astype(np.float64)
    rarest = np.argsort(held, kind="stable")
    kept = np.sort(rarest[np.cumsum(held[rarest] ** 2) <= LIKENESS_PAIRS])
    if len(kept) < given.shape[1]:
        given = given[:, kept].tocsr()
    return _Rows(given, vectors)


def _by_domain(
    rows: _Rows, catalogue: Catalogue, shrinkage: float, neighbours: int | None
) -> list[sparse.csr_array]:
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be 1 or more, or None. Received: {neighbours}")
    result = []
    for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True):
        others = np.arange(offset, offset + size)
        blocks = [
            sparse.csr_array((value, (row, other - offset)), shape=(stop - start, size))
            for start, stop, row, other, value in _blocks(rows, others, shrinkage, neighbours)
        ]
        result.append(sparse.vstack(blocks, format="csr"))
    return result


def _lists(
    rows: _Rows, others: np.ndarray, count: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    shape = (rows.given.shape[0], count)
    ids, values = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for start, _, row, other, value in _blocks(rows, others, shrinkage, count):
        order = np.lexsort((other, -value, row))
        row, other, value = row[order], other[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        ids[start + row, place], values[start + row, place] = other, value
    return ids, values


def _blocks(
    rows: _Rows, others: np.ndarray, shrinkage: float, neighbours: int | None
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
    """Similarities of all items to some, a block of rows at a time, the largest of each row.

    Args:
        rows: what is compared.
        others: `[n]` ids, ascending.
        shrinkage: as in `similarities`.
        neighbours: how many of each row are kept; None: all.

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
