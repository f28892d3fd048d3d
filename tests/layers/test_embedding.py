"""First item vectors of tables that are drawn in pieces."""

import keras
import numpy as np
import pytest

from tf_syncrec.layers import SharedEmbedding, embedding


def first_vectors(num_items, seed):
    keras.utils.set_random_seed(seed)
    layer = SharedEmbedding(num_items, 2, window=3, dim=16)
    layer.build(None)
    return layer.items.numpy()


@pytest.mark.parametrize("num_items", [1199, 1200, 1201])
def test_pieces_are_drawn_like_a_whole(monkeypatch, num_items):
    """Every row, no piece like another, of the same spread, and again with the same seed."""
    whole = first_vectors(num_items, 1)
    monkeypatch.setattr(embedding, "ROWS_AT_ONCE", 400)
    pieces = first_vectors(num_items, 1)
    assert pieces.shape == whole.shape == (num_items + 1, 16)
    assert len(np.unique(pieces, axis=0)) == num_items + 1
    np.testing.assert_allclose(pieces.std(), whole.std(), rtol=0.03)
    np.testing.assert_allclose(pieces.mean(), 0.0, atol=0.01)
    np.testing.assert_array_equal(pieces, first_vectors(num_items, 1))
    assert (pieces != first_vectors(num_items, 2)).mean() > 0.99
