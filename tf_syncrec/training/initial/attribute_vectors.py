"""Initial vectors of attributes: what co-occurrence says of items, said of what they have."""

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from tf_syncrec.layers.embedding import SharedEmbedding
from tf_syncrec.layers.item_attributes import ItemAttributes
from tf_syncrec.utils.variables import as_array, fill

RIDGE = 1.0
"""An attribute needs evidence of about as many items before its vector is as long as theirs."""

RELIABLE = 5.0
"""Of an item with so many training interactions, half is what it says by itself."""

STEPS = 30
"""Of conjugate gradients; what is left over is far below what training changes."""


def initialise_with_attributes(
    embedding: SharedEmbedding, vectors: np.ndarray, counts: np.ndarray
) -> None:
    """Gives items and attributes first vectors: co-occurrence, smoothed over attributes.

    The vectors of attributes are those from which the vectors of items follow best (a ridge
    regression that weighs each item by its reliability). Then an item's vector is its own as far as
    it has interactions, `n / (n + RELIABLE)`, and for the rest what its attributes say. An item
    without interactions has nothing of its own.

    Args:
        embedding: with attributes; changed.
        vectors: `[items + 1, dim]`, from `item_vectors`.
        counts: `[items]`, training interactions.
    """
    attributes = embedding.attributes
    assert attributes is not None
    reliability = (counts / (counts + RELIABLE)).astype(np.float32)
    reliability = np.append(np.float32(0), reliability)[:, None]
    fit_attributes(attributes, vectors, reliability)
    expected = attributes.of_all()
    known = np.linalg.norm(expected, axis=1, keepdims=True) > 0
    own = np.where(known, reliability * (vectors - expected), vectors)
    fill(embedding.items, own.astype(np.float32))


def fit_attributes(
    attributes: ItemAttributes, vectors: np.ndarray, reliability: np.ndarray
) -> None:
    """Sets the learned part of attributes: ridge regression of item vectors on them.

    Args:
        attributes: changed.
        vectors: `[items + 1, dim]`.
        reliability: `[items + 1, 1]`, weight of each in the sum of squares.
    """
    given, dim = attributes.matrix(), vectors.shape[1]
    ready_made = as_array(attributes.vectors) if attributes.ready_made else None
    rows = given.shape[1] + attributes.ready_made

    def expected(parts):
        found = given @ parts[: given.shape[1]]
        return found if ready_made is None else found + ready_made @ parts[given.shape[1] :]

    def transposed(residuals):
        parts = [given.T @ residuals]
        if ready_made is not None:
            parts.append(ready_made.T @ residuals)
        return np.concatenate(parts)

    # All columns at once: for scipy they are one vector, which no entry of the matrix mixes.
    def normal(flat):
        parts = flat.reshape(rows, dim)
        return (transposed(reliability * expected(parts)) + RIDGE * parts).ravel()

    operator = LinearOperator((rows * dim, rows * dim), matvec=normal, dtype=np.float32)
    found, _ = cg(operator, transposed(reliability * vectors).ravel(), rtol=1e-3, maxiter=STEPS)
    found = found.reshape(rows, dim).astype(np.float32)
    fill(attributes.table, found[: given.shape[1]])
    if ready_made is not None:
        fill(attributes.projection, found[given.shape[1] :])
