"""Groups of users that all domains share, and whose a sequence is (MAN, WSDM 2024)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import Tower
from tf_syncrec.layers.experts import EPSILON, attention_bias


class GroupPrototypes(keras.layers.Layer):
    """What groups of users, the same in all domains, make of a sequence, and whose it is.

    Args:
        num_domains: |D|.
        dim: r.
        groups: how many.
        dropout: rate.
        style: of towers.
    """

    def __init__(self, num_domains, dim, groups, dropout=0.0, style="pre_norm", **kwargs):
        super().__init__(**kwargs)
        self.num_domains, self.dim, self.groups = num_domains, dim, groups
        part = {"dtype": self.dtype_policy}
        self.towers, self.matched = (
            Tower(num_domains, dim, dropout, style, **part) for _ in range(2)
        )

    def build(self, input_shape=None):
        """Creates the prototypes `[groups, dim]` and four matrices."""
        first = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        shape = (self.groups, self.dim)
        self.prototypes = self.add_weight(shape=shape, initializer=first, name="prototypes")
        self.keys, self.values, self.asked, self.answered = (
            self.add_weight(shape=(self.dim, self.dim), initializer="glorot_uniform", name=name)
            for name in ("keys", "values", "asked", "answered")
        )
        self.towers.build()
        self.matched.build()
        self.built = True

    def constructed(self, local, mask):
        """Each prototype and what it finds in the slots that are seen.

        Args:
            local: `[batch, slots, dim]`.
            mask: `[batch, queries, slots]` bool, who sees whom.

        Returns:
            `[batch, queries, groups, dim]`.
        """
        prototypes, keys, values = (
            tf.cast(tf.convert_to_tensor(weight), local.dtype)
            for weight in (self.prototypes, self.keys, self.values)
        )
        asking = keras.ops.layer_normalization(prototypes, epsilon=EPSILON)
        logits = tf.einsum("gr,bsr->bgs", asking, tf.matmul(local, keys)) * self.dim**-0.5
        logits = tf.cast(logits, tf.float32)[:, None] + attention_bias(mask)[:, :, None]
        shares = tf.cast(tf.nn.softmax(logits), local.dtype)  # (batch, queries, groups, slots)
        return prototypes + tf.matmul(shares, tf.matmul(local, values)[:, None])

    def assigned(self, local, groups):
        """How much of each group a sequence is, `[..., groups]` float32, which sum to 1."""
        asked = tf.matmul(local, tf.cast(tf.convert_to_tensor(self.asked), local.dtype))
        logits = tf.einsum("bsr,bsgr->bsg", asked, groups) * self.dim**-0.5
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    def call(self, local, constructed, domains, training=None):
        """Matches.

        Args:
            local: `[rows, slots, dim]`, of domains a row.
            constructed: `[rows, slots, groups, dim]`, of `constructed`.
            domains: `[rows]` int32.
            training: whether dropout is on.

        Returns:
            `[rows, slots, dim]`.
        """
        rows, slots = tf.shape(local)[0], tf.shape(local)[1]
        groups = tf.reshape(constructed, [rows, slots * self.groups, self.dim])
        groups = self.towers(groups, domains, training=training)
        groups = tf.reshape(groups, [rows, slots, self.groups, self.dim])
        shares = tf.cast(self.assigned(local, groups), groups.dtype)
        found = tf.matmul(tf.einsum("bsg,bsgr->bsr", shares, groups), self.answered)
        return self.matched(found, domains, training=training)
