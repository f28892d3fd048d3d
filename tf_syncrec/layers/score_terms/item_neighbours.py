"""Votes of a history for the items that the same users had: item-kNN as a part of the score."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.utils.variables import fill


@keras.saving.register_keras_serializable("tf_syncrec")
class ItemNeighbours(keras.layers.Layer):
    """What each item's nearest neighbours get when the item stands in a history.

    `votes(c) = weight * sum over items h of the history of decay^age(h) sim(h, c)`, where `age(h)`
    counts the interactions after the latest one with h, as in `baselines.item_knn` of `models`. A
    network generalises; counting remembers which two items of the sparse tail the same users had.

    Neither lists nor numbers have a gradient; `scoring.votes` sets them after
    training. Until then nothing votes.

    Args:
        num_items: |V|, the number of items over all domains.
        count: neighbours of each item, over all domains together.
        history: how many of the latest interactions vote.

    ```python
    neighbours = ItemNeighbours(num_items=15, count=4, history=3)
    ids, votes = neighbours(tf.constant([[0, 3, 12], [1, 11, 2]]))  # each (2, 12), of 0
    ```
    """

    def __init__(self, num_items, count, history, **kwargs):
        super().__init__(**kwargs)
        self.history = history
        self.num_items = num_items
        self.count = count

    def build(self, input_shape=None):
        """Creates the lists `[items + 1, count]`, row 0 for padding, and the two numbers."""

        def state(shape, dtype, name):
            return self.add_weight(
                shape=shape, dtype=dtype, initializer="zeros", trainable=False, name=name
            )

        shape = (self.num_items + 1, self.count)
        self.others = state(shape, "int32", "others")
        self.similarities = state(shape, "float32", "similarities")
        self.weight = state((), "float32", "weight")
        self.decay = state((), "float32", "decay")
        self.built = True

    def set_lists(self, others: np.ndarray, similarities: np.ndarray) -> None:
        """Says who is whose neighbour: ids and similarities, each `[items + 1, count]`."""
        fill(self.others, others)
        fill(self.similarities, similarities)

    def reset(self):
        """Nobody votes, as before weight and decay are fitted."""
        self.weight.assign(0.0)
        self.decay.assign(0.0)

    def voting(self):
        """Whether it says anything at all, a bool tensor."""
        return self.weight.value > 0

    def call(self, items, timestamps=None, now=None):
        """What a history says, with the weight and decay that were chosen.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
            timestamps: when they were, which makes no difference.
            now: when the request is, likewise.

        Returns:
            Item ids, 0 for none, and votes, each `[batch, min(length, history) * count]`, int32
            and float32; an id may come several times, and its votes add up.
        """
        ids, votes = self.votes(tf.cast(items, tf.int32), tf.convert_to_tensor(self.decay))
        return ids, votes * tf.convert_to_tensor(self.weight)

    # Traced, since one operation at a time costs more than what is computed.
    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.float32)],
    )
    def votes(self, items, decay):
        """As `call`, with any decay, and the weight 1."""
        items = items[:, -self.history :]
        batch, length = tf.shape(items)[0], tf.shape(items)[1]
        weights = recency(items, decay)
        ids = tf.gather(self.others.value, items)
        votes = tf.gather(self.similarities.value, items) * weights[..., None]
        return tuple(tf.reshape(x, [batch, length * self.count]) for x in (ids, votes))

    def compute_output_shape(self, input_shape):
        batch, length = input_shape
        votes = (batch, None if length is None else min(length, self.history) * self.count)
        return votes, votes

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_items": self.num_items,
            "count": self.count,
            "history": self.history,
        }


def recency(items, decay):
    """What places of histories weigh: `decay^age`, age counting the interactions after them.

    Args:
        items: `[batch, length]` int32, oldest first, padded with 0 on the left.
        decay: of an interaction relative to the one after it.

    Returns:
        `[batch, length]` float32; of equal items the latest counts, the others are 0.
    """
    length = tf.shape(items)[1]
    ages = tf.range(length)[::-1]
    again = (items[:, :, None] == items[:, None, :]) & (ages[None, :] < ages[:, None])
    return tf.pow(decay, tf.cast(ages, tf.float32)) * tf.cast(
        ~tf.reduce_any(again, axis=2), tf.float32
    )


def add_votes(scores, ids, votes, offset):
    """Adds votes to the scores of consecutive items.

    Args:
        scores: `[rows, size]` float32 of the items `offset .. offset + size - 1`.
        ids: `[rows, any]` int32; those of other items are passed over.
        votes: `[rows, any]` float32.
        offset: first item id, from 1.

    Returns:
        As `scores`.
    """
    local = ids - offset
    inside = (local >= 0) & (local < tf.shape(scores)[1])
    where = tf.where(inside)
    columns = tf.cast(tf.gather_nd(local, where), tf.int64)
    places = tf.stack([where[:, 0], columns], axis=1)
    return tf.tensor_scatter_nd_add(scores, places, tf.gather_nd(votes, where))


def all_votes(voters: Iterable[Callable], items, *times) -> tuple:
    """What several parts of a score say of items, as one.

    Args:
        voters: `ItemNeighbours`, `RepeatConsumption`, or nothing.
        items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
        times: none, or when they were, or also when the request is, see `RepeatConsumption`.

    Returns:
        Item ids and votes, each `[batch, any]`; `()` of nobody.
    """
    return together([voter(items, *times) for voter in voters])


def together(said: Iterable[tuple]) -> tuple:
    """Item ids and votes of several parts of a score as one, `[batch, any]`; `()` of nobody."""
    return tuple(tf.concat(parts, axis=1) for parts in zip(*said, strict=True))
