"""What stands in a slot, and first item vectors of tables that are drawn in pieces."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.literal import Literal
from tf_syncrec.layers import SharedEmbedding, embedding, split_views


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


@pytest.mark.parametrize("style", ["pre_norm", "paper"])
def test_a_slot_is_an_item_or_a_start_token_at_its_position(style, make_model):
    model = make_model(style=style, window=5)
    items = tf.constant([[0, 3, 7, 1, 11]])
    for view in split_views(items, None, model.offsets, model.window):
        received = model.embedding(view)[0].numpy()
        assert not received[0].any()  # padding
        # One by one, as the positions of the single view are not in a row.
        for slot in range(1, 5):
            token, position = int(view.tokens[0, slot]), int(view.positions[0, slot])
            inputs = ["SOS" if token < 0 else token, *[1] * (4 - position)]
            (expected,) = Literal(model).embed(inputs, start_token=-token - 1)[
                position : position + 1
            ]
            np.testing.assert_allclose(received[slot], expected, rtol=1e-4, atol=1e-5)
