"""Tower networks h^cross and h^d (paper 4.2.1): a feed-forward network with normalisation."""

import keras
import tensorflow as tf

from tf_syncrec.layers.dropout import Dropout
from tf_syncrec.layers.experts import StackedGlorotUniform, feed_forward, layer_norm


@keras.saving.register_keras_serializable("tf_syncrec")
class Tower(keras.layers.Layer):
    """One tower per domain (h^d), or a single one for the cross view (h^cross).

    `style="paper"`: `LN(FFN(x))`. `style="pre_norm"`: `LN(x + FFN(x))`, with dropout.

    Args:
        num_towers: |D| for the towers h^d, 1 for h^cross.
        dim: r.
        dropout: rate on the residual branch (`pre_norm` only).
        style: `"pre_norm"` or `"paper"`.

    ```python
    towers = Tower(num_towers=3, dim=8)
    outputs = towers(tf.random.normal([2, 5, 8]), tf.constant([2, 0]))  # (2, 5, 8)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.2.1.
    """

    def __init__(self, num_towers, dim, dropout=0.0, style="pre_norm", **kwargs):
        super().__init__(**kwargs)
        self.num_towers = num_towers
        self.dim = dim
        if style not in ("pre_norm", "paper"):
            raise ValueError(f"style must be 'pre_norm' or 'paper'. Received: {style!r}")
        self.dropout_rate = dropout
        self.style = style
        self.dropout = Dropout(dropout if style == "pre_norm" else 0.0, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        """Creates weights with a leading tower axis."""
        shape, bias = (self.num_towers, self.dim, self.dim), (self.num_towers, 1, self.dim)
        self.w1 = self.add_weight(shape=shape, initializer=StackedGlorotUniform(), name="w1")
        self.b1 = self.add_weight(shape=bias, initializer="zeros", name="b1")
        self.w2 = self.add_weight(shape=shape, initializer=StackedGlorotUniform(), name="w2")
        self.b2 = self.add_weight(shape=bias, initializer="zeros", name="b2")
        norm = {"shape": bias, "autocast": False}
        self.scale = self.add_weight(initializer="ones", name="scale", **norm)
        self.offset = self.add_weight(initializer="zeros", name="offset", **norm)
        self.built = True

    def call(self, inputs, towers, training=None):
        """Applies tower `towers[i]` to row i.

        Args:
            inputs: `[rows, slots, dim]`.
            towers: `[rows]` int32.

        Returns:
            `[rows, slots, dim]`.
        """

        def of_rows(weight):
            # A single tower broadcasts: no copy of its weights per row.
            weight = tf.convert_to_tensor(weight)
            return weight if self.num_towers == 1 else tf.gather(weight, towers)

        output = feed_forward(
            inputs, *(of_rows(weight) for weight in (self.w1, self.b1, self.w2, self.b2))
        )
        if self.style == "pre_norm":
            output = inputs + self.dropout(output, training=training)
        return layer_norm(output, of_rows(self.scale), of_rows(self.offset))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_towers": self.num_towers,
            "dim": self.dim,
            "dropout": self.dropout_rate,
            "style": self.style,
        }
