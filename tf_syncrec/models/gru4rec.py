"""GRU4Rec: a recurrent network over the sequence (Hidasi et al., 2015)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.views import PAD
from tf_syncrec.models.sequential import SequentialModel


class GRU4Rec(SequentialModel):
    """`model.blocks` GRUs of width r, with dropout between them."""

    batch_layout = "padded"  # its state would run from one sequence of a row into the next

    def __init__(self, config, domain_sizes, **kwargs):
        super().__init__(config, domain_sizes, **kwargs)
        model = config.model
        self.recurrent = [
            keras.layers.GRU(
                model.dim,
                return_sequences=True,
                dropout=0.0 if layer == 0 else model.dropout,
                use_cudnn=False,  # it knows padding on the right only
            )
            for layer in range(model.blocks)
        ]
        for layer in self.recurrent:
            layer.build((None, None, model.dim))
        self.build_parts()

    def encode(self, view, last=None, training=None):
        """As in `SequentialModel`; the position of an item plays no part."""
        tokens = view.tokens
        # One position for all slots: a constant, which says nothing.
        x = self.embedding(
            view._replace(positions=tf.zeros_like(view.positions)), training=training
        )
        # The state passes over padding unchanged, so that its width does not matter.
        for layer in self.recurrent:
            x = layer(x, mask=tf.not_equal(tokens, PAD), training=training)
        return x if last is None else x[:, -last:]
