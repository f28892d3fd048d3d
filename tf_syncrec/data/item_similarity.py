"""Which items the same users had: cosine similarity over training users."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences

PAIRS_AT_ONCE = 2**22
"""Pairs of items counted at a time while fitting: some 200 MB, whatever the catalogue."""

LIKENESS_PAIRS = 2e9
"""Pairs of items with an attribute in common that are looked at: half a minute."""

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


def similarities(
    interactions: sparse.csr_array,
    catalogue: Catalogue,
    shrinkage: float = 0.0,
    neighbours: int | None = None,
    listed: np.ndarray | None = None,
) -> list[sparse.csr_array]:
    """Cosine similarity of items over their users, `co / (sqrt(n_i n_j) + shrinkage)`.

    An item is no neighbour of itself. Counted in blocks of rows: memory is that of the result and
    of `PAIRS_AT_ONCE` pairs, never items x items.

    Args:
        interactions: `[users, items + 1]` of 0 and 1, from `user_items`; or of other numbers, of
            whose columns it is the cosine.
        catalogue: items and domains.
        shrinkage: from 0; takes from similarities that few users support.
        neighbours: the most similar items kept for each item in each domain (of equals, those with
            the lower ids); None keeps all.
        listed: `[items + 1]` bool, whose similarity is wanted; None: of all.

    Returns:
        One `[items + 1, size]` float32 a domain: similarity of any item to the domain's items.
    """
    if not shrinkage >= 0:
        raise ValueError(f"shrinkage must be 0 or more. Received: {shrinkage}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be 1 or more, or None. Received: {neighbours}")
    users = interactions.power(2).sum(axis=0, dtype=np.float64)  # of 0 and 1, their number
    by_item = interactions.T.tocsr()
    result = []
    for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True):
        of_domain = interactions[:, offset : offset + size].tocsr()
        if listed is not None:
            kept = sparse.diags_array(listed[offset : offset + size].astype(np.float32))
            of_domain = (of_domain @ kept).tocsr()
            of_domain.eliminate_zeros()
        # How many pairs of interactions each row of the product is summed from.
        pairs = (by_item != 0) @ np.diff(of_domain.indptr).astype(np.float64)
        blocks = []
        for start, stop in _row_blocks(pairs):
            shared = (by_item[start:stop] @ of_domain).tocoo()
            item, other = shared.row + start, shared.col + offset
            value = shared.data / (np.sqrt(users[item] * users[other]) + shrinkage)
            kept = item != other
            if neighbours is not None:
                kept[kept] = _nearest(shared.row[kept], shared.col[kept], value[kept], neighbours)
            blocks.append(
                sparse.csr_array(
                    (value[kept].astype(np.float32), (shared.row[kept], shared.col[kept])),
                    shape=shared.shape,
                )
            )
        result.append(sparse.vstack(blocks, format="csr"))
    return result


def _row_blocks(pairs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cuts rows into runs of about `PAIRS_AT_ONCE` pairs, or of one row."""
    block = (np.cumsum(pairs) // PAIRS_AT_ONCE).astype(np.int64)
    starts = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
    yield from zip(starts, [*starts[1:], len(pairs)], strict=True)


def _nearest(rows, columns, values, neighbours: int) -> np.ndarray:
    """Which entries are among the largest of their row, as a mask."""
    crowded = np.flatnonzero(np.bincount(rows)[rows] > neighbours)  # few: sorting is what costs
    order = crowded[np.lexsort((columns[crowded], -values[crowded], rows[crowded]))]
    ordered = rows[order]
    mask = np.ones(len(rows), bool)
    mask[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered) < neighbours
    return mask


def likenesses(
    attributes: sparse.csr_array,
    catalogue: Catalogue,
    neighbours: int | None = None,
    listed: np.ndarray | None = None,
) -> list[sparse.csr_array]:
    """Cosine similarity of items over their attributes.

    Attributes of very many items say next to nothing and cost the square of their number, so the
    commonest are left out, until there are `LIKENESS_PAIRS` pairs at most.

    Args:
        attributes: `[items + 1, attributes]`, shares, of `data.item_attributes`.
        catalogue: items and domains.
        neighbours: as in `similarities`.
        listed: likewise.

    Returns:
        As `similarities`.
    """
    by_attribute = attributes.T.tocsr()
    held = np.diff(by_attribute.indptr).astype(np.float64)
    rarest = np.argsort(held, kind="stable")
    kept = np.sort(rarest[np.cumsum(held[rarest] ** 2) <= LIKENESS_PAIRS])
    return similarities(by_attribute[kept], catalogue, 0.0, neighbours, listed)
