"""Attention whose weights a network makes of each pair of query and key, as DIN's (KDD 2018)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.experts import attention_bias


def attend(scores, mask, values):
    """Mean of values by a softmax of scores, `[batch, queries, dim]`; 0 where nothing is seen.

    Args:
        scores: `[batch, queries, keys]`.
        mask: `[batch, queries, keys]` bool, True where a query sees a key.
        values: `[batch, keys, dim]`.
    """
    shares = tf.nn.softmax(tf.cast(scores, tf.float32) + attention_bias(mask))
    shares = tf.where(mask, shares, 0.0)
    return tf.matmul(tf.cast(shares, values.dtype), values)


class PairScores(keras.layers.Layer):
    """`MLP([k; q; k * q; q - k; c])` of each query q and key k, `*` by element, with PReLU.

    The first layer is linear in all of these but `k * q`, so that of pairs only that is made.
    Still it takes `batch * queries * keys * units` numbers, several times over for the gradient:
    with 128 rows of 50 slots 100 MB each, so that long windows want small batches.

    Args:
        dim: r.
        units: widths of the two inner layers.
        context: whether there is a c, a vector that goes with the query.
    """

    def __init__(self, dim, units=(80, 40), context=False, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.units, self.context = dim, tuple(units), context

    def build(self, input_shape=None):
        """Creates the weights; slopes are those of what is below 0."""
        first, second = self.units

        def weight(name, *shape, initializer="glorot_uniform"):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        # In the order of the concatenation.
        self.w1 = weight("w1", (4 + self.context) * self.dim, first)
        self.b1 = weight("b1", first, initializer="zeros")
        self.slope1 = weight("slope1", first, initializer="zeros")
        self.w2 = weight("w2", first, second)
        self.b2 = weight("b2", second, initializer="zeros")
        self.slope2 = weight("slope2", second, initializer="zeros")
        self.w3 = weight("w3", second, 1)
        self.built = True

    def call(self, queries, keys, context=None):
        """Scores of pairs.

        Args:
            queries: `[batch, queries, dim]`.
            keys: `[batch, keys, dim]`.
            context: `[batch, queries, dim]`, where there is one.

        Returns:
            `[batch, queries, keys]`.
        """
        of_key, of_query, of_both, of_difference, *of_context = tf.split(
            tf.convert_to_tensor(self.w1), 4 + self.context, axis=0
        )
        asked = tf.matmul(queries, of_query + of_difference) + self.b1
        if context is not None:
            asked += tf.matmul(context, of_context[0])
        shown = tf.matmul(keys, of_key - of_difference)
        # (batch, queries, keys, units)
        both = tf.matmul(keys[:, None], queries[..., None] * of_both)
        hidden = _prelu(both + asked[:, :, None] + shown[:, None], self.slope1)
        # Not `tf.matmul`: of `[batch, 1, keys, units]` and a matrix TensorFlow (2.21) writes beyond
        # its memory on CPUs.
        hidden = _prelu(tf.tensordot(hidden, self.w2, 1) + self.b2, self.slope2)
        return tf.tensordot(hidden, self.w3, 1)[..., 0]


def _prelu(x, slope):
    return tf.maximum(x, 0) + tf.convert_to_tensor(slope) * tf.minimum(x, 0)
