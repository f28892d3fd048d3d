"""Initial item vectors from what stands close together in training sequences."""

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import svds

from tf_syncrec.config import Config
from tf_syncrec.data import Sequences
from tf_syncrec.multi_domain import MultiDomainModel

NEIGHBOURHOOD = 10
"""Interactions on either side of an item that count as its context."""

SMOOTHING = 0.75
"""Exponent of a context's frequency, so that rare contexts do not rule (Levy et al., 2015)."""

USERS_AT_ONCE = 8192
"""Training rows read at a time."""


def item_vectors(prepared: Sequences, dim: int, seed: int) -> np.ndarray:
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
    vectors = np.zeros((size, dim))
    rank = min(dim, information.shape[0] - 1)
    if information.nnz:
        left, values, _ = svds(information, k=rank, v0=rng.normal(size=size))
        vectors[:, :rank] = left * np.sqrt(values)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = lengths > 1e-6 * lengths.max(initial=1e-6)
    random = rng.normal(size=vectors.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    return np.where(known, vectors / np.where(known, lengths, 1), random).astype(np.float32)


def initialise_items(model: MultiDomainModel, config: Config, prepared: Sequences) -> None:
    """Gives a new model its first item vectors, as `model.item_init` says.

    Args:
        model: not trained.
        config: the run's.
        prepared: what it will be trained on.
    """
    if config.model.item_init == "cooccurrence":
        vectors = item_vectors(prepared, config.model.dim, config.train.seed)
        model.embedding.items.assign(vectors)


def _context_counts(prepared, size) -> sparse.csr_array:
    """How often item i stood at most `NEIGHBOURHOOD` interactions from item j."""
    counts = sparse.csr_array((size, size), dtype=np.float64)
    for rows in prepared.as_dataset("train").ragged_batch(USERS_AT_ONCE):
        items, users = rows["items"].flat_values.numpy(), rows["items"].value_rowids().numpy()
        for gap in range(1, NEIGHBOURHOOD + 1):
            near = users[gap:] == users[:-gap]
            pair = items[:-gap][near], items[gap:][near]
            counts += sparse.csr_array((np.ones(near.sum()), pair), shape=(size, size))
    counts += counts.T
    counts.setdiag(0)  # an item says nothing about itself
    counts.eliminate_zeros()
    return counts


def _information(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information, contexts smoothed."""
    frequency = np.asarray(counts.sum(axis=1)).ravel()
    context = frequency**SMOOTHING
    counts = counts.tocoo()
    row, column = counts.coords
    ratio = counts.data * context.sum() / (frequency[row] * context[column])
    positive = ratio > 1
    return sparse.csr_array(
        (np.log(ratio[positive]), (row[positive], column[positive])), shape=counts.shape
    )
