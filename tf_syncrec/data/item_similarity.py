"""Which items are similar: cosine over training users, or over what is known of items."""

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.cosine import Rows, blocks, nearest_lists

LIKENESS_PAIRS = 2e9
"""Pairs of items with an attribute in common that are looked at: half a minute."""

VECTOR_PAIRS = 4e9
"""Pairs of items that are compared by their vectors, all with all: a minute or two."""

Attributes = tuple[sparse.csr_array, np.ndarray | None]
"""What is compared of items: `[items + 1, attributes]`, and vectors `[items + 1, m]` or None."""

USERS_AT_ONCE = 8192
"""Training rows read at a time."""


class TrainingHistories(NamedTuple):
    """What the training users had, one user after the other, oldest first.

    Attributes:
        ends: `[users + 1]` int64, where the interactions of each user end; before the first, 0.
        items: `[interactions]` int32 ids.
        times: `[interactions]`, when that was, in the unit of the log.
    """

    ends: np.ndarray
    items: np.ndarray
    times: np.ndarray


def training_histories(prepared: Sequences) -> TrainingHistories:
    """Reads all training rows."""
    lengths, items, times = [np.zeros(1, np.int64)], [], []
    for rows in prepared.as_dataset("train").ragged_batch(USERS_AT_ONCE):
        lengths.append(rows["items"].row_lengths().numpy())
        items.append(rows["items"].flat_values.numpy())
        times.append(rows["timestamps"].flat_values.numpy())
    return TrainingHistories(
        np.cumsum(np.concatenate(lengths)), np.concatenate(items), np.concatenate(times)
    )


def user_item_counts(prepared: Sequences) -> sparse.csr_array:
    """How often who had what in training, `[users, items + 1]` float32, by item id."""
    ends, ids, _ = training_histories(prepared)
    shape = (len(ends) - 1, prepared.catalogue.num_items + 1)
    matrix = sparse.csr_array((np.ones(len(ids), np.float32), ids, ends), shape=shape)
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
    least_users: int = 1,
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
        least_users: users who had both; pairs of fewer have no similarity.

    Returns:
        One `[items + 1, size]` float32 a domain: similarity of any item to the domain's items.
    """
    rows = Rows(interactions.T.tocsr())
    return _by_domain(rows, catalogue, shrinkage, neighbours, least_users)


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
    rows = Rows(interactions.T.tocsr())
    return nearest_lists(rows, np.arange(1, rows.given.shape[0]), count, shrinkage)


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
    return nearest_lists(_telling(attributes, len(others)), others, count, 0.0)


def _telling(attributes: Attributes, others: int) -> Rows:
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
    return Rows(given, vectors)


def _by_domain(
    rows: Rows,
    catalogue: Catalogue,
    shrinkage: float,
    neighbours: int | None,
    least: float = 0.0,
) -> list[sparse.csr_array]:
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be 1 or more, or None. Received: {neighbours}")
    result = []
    for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True):
        others = np.arange(offset, offset + size)
        parts = [
            sparse.csr_array((value, (row, other - offset)), shape=(stop - start, size))
            for start, stop, row, other, value in blocks(rows, others, shrinkage, neighbours, least)
        ]
        result.append(sparse.vstack(parts, format="csr"))
    return result
