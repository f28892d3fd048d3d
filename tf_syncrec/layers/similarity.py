"""How representations become scores: similarity to an item."""

import keras
import tensorflow as tf

TINY = 1e-12
"""Squared lengths below count as this."""


@keras.saving.register_keras_serializable("tf_syncrec")
class Similarity(keras.layers.Layer):
    """Turns both sides into float32 vectors whose dot product is the score.

    `"dot"`: y · m as in the paper (Eq. 19). `"cosine"`: both sides at unit length, divided by a
    temperature, which keeps popular items from winning by the length of their vectors. In bfloat16
    a perfect match would be off by a percent, so it is float32 whatever comes in.

    Args:
        kind: `"dot"` or `"cosine"`.
        temperature: divides the score.

    ```python
    similarity = Similarity("cosine", temperature=0.1)
    y = tf.random.normal([2, 4, 8])
    scores = similarity(y, y)  # (2, 4, 4), with 10 on the diagonals
    ```
    """

    def __init__(self, kind="cosine", temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if kind not in ("dot", "cosine"):
            raise ValueError(f"kind must be 'dot' or 'cosine'. Received: {kind!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive. Received: {temperature!r}")
        self.kind = kind
        self.temperature = temperature

    def build(self, input_shape=None):
        """Has no weights."""
        self.built = True

    def call(self, y, m):
        """Scores `[..., queries, items]` of `[..., queries, dim]` and `[..., items, dim]`."""
        return tf.matmul(self.query(y), self.candidate(m), transpose_b=True)

    def query(self, y):
        """Representations `[..., dim]` -> query vectors `[..., dim]`, temperature included."""
        return self._unit(y) / self.temperature

    def candidate(self, m):
        """Item embeddings `[..., dim]` -> candidate vectors `[..., dim]`."""
        return self._unit(m)

    def scale(self, x):
        """What vectors `[..., dim]` are multiplied by: `[..., 1]`, 1 / |x|, or 1 for `"dot"`."""
        x = tf.cast(x, tf.float32)
        if self.kind == "dot":
            return tf.ones_like(x[..., :1])
        return tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(x), -1, keepdims=True), TINY))

    def _unit(self, x):
        x = tf.cast(x, tf.float32)
        return x * self.scale(x) if self.kind == "cosine" else x

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"kind": self.kind, "temperature": self.temperature}
