"""The graph of who has had what in training, as constants of a network."""

import keras
import numpy as np
import tensorflow as tf


class InteractionGraph(keras.layers.Layer):
    """Users and items of every domain, joined where the user has had the item.

    A user is a node in each domain, so that the graph falls apart into one a domain, and one sparse
    matrix holds them all. Pairs name items by their place in their domain: they mean the same where
    other items have come to stand behind.

    Args:
        num_users: rows of the users' table.
        domain_sizes: items of each domain.
        pairs: how many pairs there are.
    """

    def __init__(self, num_users, domain_sizes, pairs, **kwargs):
        super().__init__(**kwargs)
        self.num_users, self.domain_sizes = num_users, list(domain_sizes)
        self.num_pairs = pairs

    def build(self, input_shape=None):
        """Creates room for the pairs, `[pairs, 3]` int32: user, domain, place in the domain."""
        self.pairs = self.add_weight(
            shape=(self.num_pairs, 3),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="pairs",
        )
        self.built = True

    def _nodes(self):
        """Of each pair, the user's node and the item, both `[pairs]` int32."""
        user, domain, place = tf.unstack(self.pairs.value, axis=1)
        offsets = tf.constant(1 + np.cumsum([0, *self.domain_sizes[:-1]]), tf.int32)
        return user * len(self.domain_sizes) + domain, tf.gather(offsets, domain) + place

    def counts(self):
        """Different items that users have had, `[users, domains]` float32."""
        nodes, _ = self._nodes()
        count = self.num_users * len(self.domain_sizes)
        found = tf.math.unsorted_segment_sum(tf.ones_like(nodes, tf.float32), nodes, count)
        return tf.reshape(found, [self.num_users, len(self.domain_sizes)])

    def adjacency(self) -> tf.SparseTensor:
        """`1 / sqrt(n_u n_i)` for each pair, n the neighbours: `[users * domains, items + 1]`."""
        nodes, items = self._nodes()
        shape = self.num_users * len(self.domain_sizes), sum(self.domain_sizes) + 1
        values = tf.ones_like(nodes, tf.float32)
        for ends, count in zip((nodes, items), shape, strict=True):
            degrees = tf.math.unsorted_segment_sum(tf.ones_like(values), ends, count)
            values *= tf.math.rsqrt(tf.gather(degrees, ends))
        indices = tf.cast(tf.stack([nodes, items], axis=1), tf.int64)
        return tf.SparseTensor(indices, values, shape)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_users": self.num_users,
            "domain_sizes": self.domain_sizes,
            "pairs": self.num_pairs,
        }


def pairs_of(prepared) -> tuple[list[bytes], np.ndarray]:
    """Who is in a training set, and who has had what.

    Args:
        prepared: a dataset.

    Returns:
        User ids, and `[pairs, 3]` int32 for `InteractionGraph`, sorted, each pair once.
    """
    rows = prepared.as_dataset("train").map(lambda row: (row["user_id"], row["items"]))
    users: list[bytes] = []
    found = [np.empty((0, 2), np.int64)]
    for ids, items in rows.ragged_batch(65536):
        pairs = np.stack([len(users) + items.value_rowids().numpy(), items.flat_values.numpy()], 1)
        found.append(np.unique(pairs, axis=0))
        users += ids.numpy().tolist()
    user, item = np.concatenate(found).T
    offsets = 1 + np.cumsum(prepared.catalogue.sizes) - prepared.catalogue.sizes
    domain = np.searchsorted(offsets, item, side="right") - 1
    pairs = np.stack([user, domain, item - offsets[domain]], axis=1).astype(np.int32)
    return users, np.unique(pairs, axis=0)
