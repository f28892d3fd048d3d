"""Initial item vectors from what stands close together in training sequences."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sparse
import tensorflow as tf
from scipy.sparse.linalg import svds

from tf_syncrec.config import Config
from tf_syncrec.data.batches import Sequences
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.initial.attribute_vectors import initialise_with_attributes
from tf_syncrec.utils.variables import fill

NEIGHBOURHOOD = 10
"""Interactions on either side of an item that count as its context."""

SMOOTHING = 0.75
"""Exponent of a context's frequency, so that rare contexts do not rule (Levy et al., 2015)."""

USERS_AT_ONCE = 8192
"""Training rows read at a time."""


def item_vectors(prepared: Sequences, dim: int, seed: int | Sequence[int]) -> np.ndarray:
    """Unit vectors whose dot products say how often two items stand close together.

    A truncated singular value decomposition of the positive pointwise mutual information of items
    and contexts, `U sqrt(S)` (Levy, Goldberg and Dagan, TACL 2015), from training rows alone. An
    item without a telling context gets a random direction.

    Args:
        prepared: dataset with a `train` split.
        dim: r.
        seed: of the random directions, and of where the decomposition starts.

    Returns:
        `[items + 1, dim]` float32; row 0, of padding, too is a random direction.
    """
    size = prepared.catalogue.num_items + 1
    rng = np.random.default_rng(seed)
    information = _information(_context_counts(prepared, size))
    rank = min(dim, size - 1)
    vectors = np.zeros((size, dim), np.float32)
    if information.nnz:
        start = rng.normal(size=size).astype(np.float32)
        left, values, _ = svds(information, k=rank, v0=start)
        np.multiply(left, np.sqrt(values), out=vectors[:, :rank])
    lengths = np.linalg.norm(vectors, axis=1)
    unknown = np.flatnonzero(lengths <= 1e-3 * lengths.max(initial=1e-6))
    vectors[unknown] = rng.normal(size=(len(unknown), dim))
    lengths[unknown] = np.linalg.norm(vectors[unknown], axis=1)
    vectors /= lengths[:, None]
    return vectors


def initialise_items(
    model: MultiDomainModel, config: Config, prepared: Sequences, report: Callable[[str], None]
) -> None:
    """Gives a new model its first item vectors, as `model.item_init` says.

    Args:
        model: not trained.
        config: the run's.
        prepared: what it will be trained on.
        report: told how long it took.
    """
    if config.model.item_init == "cooccurrence":
        start = time.perf_counter()
        first = config.train.seed
        for number, embedding in enumerate(model.embeddings):
            # Networks that a model is made of begin as with seeds of their own.
            seed = [first, number] if number else first
            vectors = item_vectors(prepared, config.model.dim, seed)
            if embedding.attributes is None:
                fill(embedding.items, vectors)
            else:
                initialise_with_attributes(embedding, vectors, prepared.catalogue.counts)
        report(f"Item vectors from co-occurrence: {time.perf_counter() - start:.0f} s")
        return
    clear_untrained(model, prepared.catalogue.counts == 0)


def clear_untrained(model: MultiDomainModel, untrained: np.ndarray) -> None:
    """Leaves items that were never trained what their attributes say alone, where they have any.

    A random direction that is never trained says less than nothing.

    Args:
        model: changed, where it knows attributes.
        untrained: `[items]` bool.
    """
    items = np.flatnonzero(untrained) + 1
    for embedding in model.embeddings:
        if embedding.attributes is not None and len(items):
            known = items[embedding.attributes.known(items).numpy()]
            nothing = tf.zeros([len(known), embedding.dim])
            embedding.items.value.scatter_update(tf.IndexedSlices(nothing, known))


def _context_counts(prepared: Sequences, size: int) -> sparse.csr_array:
    """How often item i stood at most `NEIGHBOURHOOD` interactions from item j.

    Returns:
        `[items + 1, items + 1]` float32, symmetric, 0 on the diagonal.
    """
    parts: list[sparse.csr_array] = []
    for rows in prepared.as_dataset("train").ragged_batch(USERS_AT_ONCE):
        items, users = rows["items"].flat_values.numpy(), rows["items"].value_rowids().numpy()
        pairs = [np.zeros((2, 0), np.int32)]
        for gap in range(1, min(NEIGHBOURHOOD, len(items) - 1) + 1):
            # An item says nothing about itself.
            kept = (users[gap:] == users[:-gap]) & (items[gap:] != items[:-gap])
            pairs.append(np.stack([items[:-gap][kept], items[gap:][kept]]))
        parts.append(_counted(np.concatenate(pairs, axis=1), size))
        # Parts of a like size are added, so that an entry is copied log(parts) times and not parts.
        while len(parts) > 1 and parts[-2].nnz < 2 * parts[-1].nnz:
            parts.append(parts.pop() + parts.pop())
    counts = sum(reversed(parts), start=_counted(np.zeros((2, 0), np.int32), size))
    return counts + counts.T


def _counted(pairs: np.ndarray, size: int) -> sparse.csr_array:
    """`[2, n]` int32 pairs -> `[size, size]` float32 counts."""
    ones = np.ones(pairs.shape[1], np.float32)
    return sparse.coo_array((ones, (pairs[0], pairs[1])), shape=(size, size)).tocsr()


def _information(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information, contexts smoothed: `[items + 1, items + 1]`."""
    frequency = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    context = frequency**SMOOTHING
    by_item = np.divide(context.sum(), frequency, where=frequency > 0, out=np.zeros_like(frequency))
    by_context = np.divide(1.0, context, where=context > 0, out=np.zeros_like(context))
    coordinates = counts.tocoo()
    row, column = coordinates.coords
    ratio = coordinates.data * by_item.astype(np.float32)[row]
    ratio *= by_context.astype(np.float32)[column]
    kept = ratio > 1
    return sparse.csr_array((np.log(ratio[kept]), (row[kept], column[kept])), shape=counts.shape)
