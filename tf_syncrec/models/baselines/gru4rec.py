"""GRU4Rec: a recurrent network over the sequence (Hidasi et al., 2015)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.views import PAD
from tf_syncrec.models.sequential import SequentialModel


@keras.saving.register_keras_serializable("tf_syncrec")
class GRU4Rec(SequentialModel):
    """GRUs of width r, with dropout between them.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: how many GRUs.
        kwargs: as in `MultiDomainModel`.
    """

    batch_layout = "padded"  # its state would run from one sequence of a row into the next

    def __init__(self, domain_sizes, *, blocks=2, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        self.recurrent = [
            keras.layers.GRU(
                self.dim,
                return_sequences=True,
                dropout=0.0 if layer == 0 else self.dropout_rate,
                use_cudnn=False,  # it knows padding on the right only
                dtype=self.dtype_policy,
            )
            for layer in range(blocks)
        ]
        for layer in self.recurrent:
            layer.build((None, None, self.dim))
        self.build_parts()

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"blocks": len(self.recurrent)}

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
