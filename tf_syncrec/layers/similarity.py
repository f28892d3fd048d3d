"""How a representation meets an item: the score y · M(x), plain or as a cosine."""

import keras
import tensorflow as tf

TINY = 1e-12
"""Squared lengths below count as this."""


class Similarity(keras.layers.Layer):
    """Turns both sides into vectors whose dot product is the score.

    `"dot"`: y · m as in the paper (Eq. 19). `"cosine"`: both sides at unit length, divided by a
    temperature, which keeps popular items from winning by the length of their vectors.

    Args:
        kind: `"dot"` or `"cosine"`.
        temperature: divides the score.
    """

    def __init__(self, kind="cosine", temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if kind not in ("dot", "cosine"):
            raise ValueError(f"kind must be 'dot' or 'cosine'. Received: {kind!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive. Received: {temperature!r}")
        self.kind = kind
        self.temperature = temperature

    def query(self, y):
        """Representations `[..., dim]` -> query vectors `[..., dim]`, temperature included."""
        return self._unit(y) / self.temperature

    def candidate(self, m):
        """Item embeddings `[..., dim]` -> candidate vectors `[..., dim]`."""
        return self._unit(m)

    def scale(self, x):
        """What vectors `[..., dim]` are multiplied by: `[..., 1]`, 1 / |x|, or 1 for `"dot"`."""
        if self.kind == "dot":
            return tf.ones_like(x[..., :1])
        return tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(x), -1, keepdims=True), TINY))

    def _unit(self, x):
        return x * self.scale(x) if self.kind == "cosine" else x

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"kind": self.kind, "temperature": self.temperature}
