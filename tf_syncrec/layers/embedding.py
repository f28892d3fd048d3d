"""Shared embedding layer: items, start tokens and positions (paper 4.1)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.dropout import Dropout
from tf_syncrec.layers.experts import EPSILON
from tf_syncrec.layers.views import PAD, View

ROWS_AT_ONCE = 1 << 18
"""Rows of M that are drawn together. Drawing takes three times the memory of what is drawn, and
TensorFlow's allocator gives nothing back to the system."""


@keras.saving.register_keras_serializable("tf_syncrec")
class SharedEmbedding(keras.layers.Layer):
    """Embeds both views with one item table M, the start tokens and the positions P.

    The item embeddings of all domains are one matrix, ordered by domain, so that the items of a
    domain are a slice of it. Row 0 belongs to padding and is never trained.

    Args:
        num_items: |V|, the number of items over all domains.
        num_domains: |D|.
        window: T, the number of positions.
        dim: r, the width of the model.
        dropout: rate applied to the embedded sequence in training.
        style: `"paper"`: E + P as it is; `"pre_norm"`: each row of it is normalised, so that an
            item counts as much in the residual stream as what the blocks add to it.

    ```python
    items = tf.constant([[0, 0, 3, 12], [1, 11, 2, 15]])  # of domains with 10 and 5 items
    cross, single = split_views(items, None, offsets=tf.constant([1, 11]), window=3)
    embedding = SharedEmbedding(num_items=15, num_domains=2, window=3, dim=8)
    embedded = embedding(cross)  # (2, 3, 8)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.1.
    """

    def __init__(
        self, num_items, num_domains, window, dim, dropout=0.0, style="pre_norm", **kwargs
    ):
        super().__init__(**kwargs)
        self.num_items = num_items
        self.num_domains = num_domains
        self.window = window
        self.dim = dim
        self.dropout_rate = dropout
        self.style = style
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        """Creates M `[items + 1, dim]`, (SOS) `[1 + domains, dim]` and P `[window, dim]`."""
        # Unit-length vectors in expectation: a dot product of two of them starts near zero.
        initializer = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        rows = self.num_items + 1
        large = rows > ROWS_AT_ONCE
        self.items = self.add_weight(
            shape=(rows, self.dim), initializer="zeros" if large else initializer, name="items"
        )
        self.items.read_by_rows = True  # for `RowwiseAdam`
        for first in range(0, rows if large else 0, ROWS_AT_ONCE):
            ids = tf.range(first, min(first + ROWS_AT_ONCE, rows))
            # Each of these draws its own seed from that of the run.
            piece = keras.initializers.RandomNormal(stddev=self.dim**-0.5)([len(ids), self.dim])
            self.items.value.scatter_update(tf.IndexedSlices(piece, ids))
        self.start_tokens = self.add_weight(
            shape=(1 + self.num_domains, self.dim), initializer=initializer, name="start_tokens"
        )
        self.positions = self.add_weight(
            shape=(self.window, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        self.built = True

    def call(self, view: View, training=None):
        """Embeds one view.

        Args:
            view: tokens and positions `[batch, slots]`.

        Returns:
            E + P, normalised or not: `[batch, slots, dim]`, zero at padding.
        """
        tokens = view.tokens
        embedded = self.embed_items(tf.maximum(tokens, PAD))
        start = tf.gather(tf.convert_to_tensor(self.start_tokens), tf.maximum(-tokens - 1, 0))
        embedded = tf.where((tokens < 0)[..., None], start, embedded)
        embedded += tf.gather(tf.convert_to_tensor(self.positions), view.positions)
        if self.style == "pre_norm":
            embedded = keras.ops.layer_normalization(embedded, epsilon=EPSILON)
        embedded = self.dropout(embedded, training=training)
        return embedded * tf.cast(tokens != PAD, embedded.dtype)[..., None]

    def embed_items(self, items):
        """Rows of M for int32 ids of any shape."""
        # Through the variable, not a copy of it: the gradient then is the rows that were read.
        return tf.cast(tf.gather(self.items.value, items), self.compute_dtype)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_items": self.num_items,
            "num_domains": self.num_domains,
            "window": self.window,
            "dim": self.dim,
            "dropout": self.dropout_rate,
            "style": self.style,
        }
