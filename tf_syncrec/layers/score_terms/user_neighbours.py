"""Votes of the training users who had what a history has: session-based kNN in the score."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tf_syncrec.layers.score_terms.item_neighbours import recency
from tf_syncrec.utils.variables import fill

DECAY = 0.8
"""What an interaction of a history weighs less than the one after it."""

CLOSE = 0.9
"""What an interaction of a neighbour weighs less than the one nearer to the last shared item."""

HOLDERS = 500
"""The latest users of an item who are looked at."""

LATEST = 50
"""The latest interactions of a neighbour that have votes."""

SLOTS = 2**13
"""Of a table by which items of a history are told from most others, see `_shared`."""


class UserVotes(NamedTuple):
    """What users like that of a history say of items; an id comes once a row.

    Attributes:
        ids: `[batch, any]` int32, items that they had; 0 is none.
        after: `[batch, any]` float32, votes for what they had after the last item that they share.
        before: likewise, for what they had before it, and for it.
    """

    ids: tf.Tensor
    after: tf.Tensor
    before: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class UserNeighbours(keras.layers.Layer):
    """What the training users say whose interactions are most like a history.

    The similarity of a history h and a training user u is the cosine of two vectors over items: of
    u, `log(1 + users / users of i)` of each item i that he had; of h, the same times
    `DECAY^age(i)`, age counting the interactions after the latest one with i. The `count` most
    similar users vote, each by his similarity, for the item at his position p, with p* the last
    position of an item that both have:

        votes(c) = weight * sum over u, p of sim(h, u) * (CLOSE^(p - p* - 1)        where p > p*,
                                                          backward * CLOSE^(p* - p)  elsewhere)

    Item neighbours know which two items the same users had; these know who had several of them, and
    what came next. After STAN (Garg et al., SIGIR 2019), where sessions are what users are here; as
    in VMIS-kNN (Kersbergen et al., SIGMOD 2022) only the `HOLDERS` latest users of an item are
    looked at, so that a request costs the same however long the log is.

    The training histories, as item ids without ids of users, are a part of the layer, eight bytes
    an interaction. Nothing here has a gradient; until `weight` is fitted nobody votes.

    Args:
        num_items: |V|, the number of items over all domains.
        count: users who vote.
        history: how many of the latest interactions of a history are compared.
        users: training users.
        interactions: those of all of them.

    ```python
    neighbours = UserNeighbours(num_items=9, count=2, history=5, users=2, interactions=5)
    neighbours.build()
    neighbours.set_histories([0, 2, 5], [1, 2, 1, 2, 3], [0, 1, 5, 6, 7])
    ids, votes = neighbours(tf.constant([[0, 2]]))  # each (1, 3): items 1, 2 and 3, 0 votes
    ```
    """

    def __init__(self, num_items, count, history, users=0, interactions=0, **kwargs):
        super().__init__(**kwargs)
        self.num_items = num_items
        self.count = count
        self.history = history
        self.users = users
        self.interactions = interactions

    def build(self, input_shape=None):
        """Creates the histories, who had each item, and the two numbers."""

        def state(shape, dtype, name):
            return self.add_weight(
                shape=shape, dtype=dtype, initializer="zeros", trainable=False, name=name
            )

        self.items = state((self.interactions,), "int32", "items")
        self.ends = state((self.users + 1,), "int32", "ends")
        self.lengths = state((self.users,), "float32", "lengths")
        self.holders = state((self.interactions,), "int32", "holders")
        self.first = state((self.num_items + 1,), "int32", "first")
        self.held = state((self.num_items + 1,), "int32", "held")
        self.rarity = state((self.num_items + 1,), "float32", "rarity")
        self.weight = state((), "float32", "weight")
        self.backward = state((), "float32", "backward")
        self.built = True

    def set_histories(self, ends: ArrayLike, items: ArrayLike, times: ArrayLike) -> None:
        """Says what the training users had.

        Args:
            ends: `[users + 1]`, where the interactions of each user end; before the first, 0.
            items: `[interactions]`, item ids of one user after the other, oldest first.
            times: `[interactions]`, when that was, so that the latest users of an item are known.
        """
        ends, items, times = map(np.asarray, (ends, items, times))
        owners = np.repeat(np.arange(self.users), np.diff(ends))
        # The latest interaction of each user with each item.
        pairs = items.astype(np.int64) * self.users + owners
        order = np.argsort(pairs, kind="stable")
        order = order[np.append(np.diff(pairs[order]) > 0, True)] if len(order) else order
        users_of = np.bincount(items[order], minlength=self.num_items + 1)
        rarity = np.log1p(self.users / np.maximum(users_of, 1)) * (users_of > 0)
        squares = np.bincount(owners[order], rarity[items[order]] ** 2, minlength=self.users)

        latest = order[np.lexsort((-times[order], items[order]))]
        rank = np.arange(len(latest)) - np.searchsorted(items[latest], items[latest])
        latest = latest[rank < HOLDERS]
        held = np.bincount(items[latest], minlength=self.num_items + 1)
        holders = np.zeros(self.interactions, np.int32)
        holders[: len(latest)] = owners[latest]
        for weight, value in (
            (self.items, items),
            (self.ends, ends),
            (self.lengths, np.sqrt(squares)),
            (self.holders, holders),
            (self.first, np.cumsum(held) - held),
            (self.held, held),
            (self.rarity, rarity),
        ):
            fill(weight, value.astype(weight.dtype))

    def reset(self):
        """Nobody votes, as before weight and backward are fitted."""
        self.weight.assign(0.0)
        self.backward.assign(0.0)

    def voting(self):
        """Whether it says anything at all, a bool tensor."""
        return self.weight.value > 0

    def call(self, items, timestamps=None, now=None):
        """What users like that of a history say, with the weight that was chosen.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
            timestamps: when they were, which makes no difference.
            now: when the request is, likewise.

        Returns:
            Item ids, 0 for none, and votes, each `[batch, any]`, int32 and float32.
        """
        return self.weighed(self.votes(tf.cast(items, tf.int32)))

    def weighed(self, votes: UserVotes):
        """What `call` returns, of what `votes` found."""
        weight, backward = map(tf.convert_to_tensor, (self.weight, self.backward))
        return votes.ids, weight * (votes.after + backward * votes.before)

    def votes(self, items, offset: int = 1, size: int | None = None) -> UserVotes:
        """The two parts of `call`, with the weight 1.

        Args:
            items: as of `call`, int32.
            offset: the first of consecutive items that are voted for; those of a domain take a
                third of the time of all.
            size: how many they are; None: all.
        """
        return self._votes(items, offset, self.num_items if size is None else size)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
        ],
    )
    def _votes(self, items, offset, size) -> UserVotes:
        items = items[:, -self.history :]
        similarities, users = self._nearest(items)
        batch, count = tf.shape(users)[0], tf.shape(users)[1]

        ends = tf.gather(self.ends.value, users + 1)
        starts = tf.maximum(tf.gather(self.ends.value, users), ends - LATEST)
        lengths = tf.where(similarities > 0, ends - starts, 0)
        neighbours, places = _ranges(tf.reshape(starts, [-1]), tf.reshape(lengths, [-1]))
        rows, found = neighbours // tf.maximum(count, 1), tf.gather(self.items.value, places)
        shared = _shared(items, rows, found)
        last = tf.math.unsorted_segment_max(
            *(tf.gather(part, shared) for part in (places, neighbours)), batch * count
        )
        wanted = tf.where((found >= offset) & (found < offset + size))[:, 0]
        neighbours, places, rows, found = (
            tf.gather(part, wanted) for part in (neighbours, places, rows, found)
        )
        last = tf.gather(last, neighbours)
        by = tf.gather(tf.reshape(similarities, [-1]), neighbours)
        by = tf.where(last >= 0, by, 0.0)  # whose shared items are all older than `LATEST`
        later = places > last
        distance = tf.where(later, places - last - 1, last - places)
        close = tf.pow(CLOSE, tf.range(LATEST, dtype=tf.float32))
        by *= tf.gather(close, tf.clip_by_value(distance, 0, LATEST - 1))
        after, before = tf.where(later, by, 0.0), tf.where(later, 0.0, by)
        (owners, ids), (after, before) = _added(rows, found, self.num_items + 1, after, before)
        return UserVotes(
            *(_dense(values, owners, batch) for values in (tf.cast(ids, tf.int32), after, before))
        )

    def _nearest(self, items):
        """The most similar users, `[batch, min(count, any)]`: similarities, 0 of none, and who."""
        batch, length = tf.shape(items)[0], tf.shape(items)[1]
        rarity = tf.gather(self.rarity.value, items)
        own = recency(items, DECAY) * rarity  # 0 of padding, too, which nobody had
        norm = tf.norm(own, axis=1, keepdims=True)
        shares = tf.math.divide_no_nan(own, norm) * rarity

        held = tf.where(own > 0, tf.gather(self.held.value, items), 0)
        cells, places = _ranges(
            *(tf.reshape(x, [-1]) for x in (tf.gather(self.first.value, items), held))
        )
        (rows, users), (products,) = _added(
            cells // tf.maximum(length, 1),
            tf.gather(self.holders.value, places),
            max(self.users, 1),
            tf.gather(tf.reshape(shares, [-1]), cells),
        )
        users = tf.cast(users, tf.int32)
        found = tf.math.divide_no_nan(products, tf.gather(self.lengths.value, users))
        found, users = (_dense(values, rows, batch) for values in (found, users))
        best = tf.math.top_k(found, tf.minimum(self.count, tf.shape(found)[1]))
        return best.values, tf.gather(users, best.indices, batch_dims=1)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_items": self.num_items,
            "count": self.count,
            "history": self.history,
            "users": self.users,
            "interactions": self.interactions,
        }


def _shared(items, rows, found):
    """Where items of many lists are such as the history of their row has, too.

    Each of them looks at its slot of a small table first, which an item of the history or, seldom,
    another one has marked; only the few that find a mark are compared with all of the history.

    Args:
        items: `[batch, length]`, histories.
        rows: `[any]`, row of each item.
        found: `[any]`, the items.

    Returns:
        Places in `found`, ascending.
    """
    batch = tf.shape(items)[0]
    slots = tf.reshape(SLOTS * tf.range(batch)[:, None] + items % SLOTS, [-1, 1])
    marks = tf.scatter_nd(slots, tf.ones(tf.shape(slots)[:1], tf.int32), [SLOTS * batch])
    near = tf.where(tf.gather(marks, SLOTS * rows + found % SLOTS) > 0)[:, 0]
    own = tf.gather(items, tf.gather(rows, near))
    return tf.boolean_mask(near, tf.reduce_any(own == tf.gather(found, near)[:, None], axis=1))


def _ranges(starts, lengths):
    """Several ranges end to end: which one each number is of, and the number."""
    owners = tf.repeat(tf.range(tf.size(lengths)), lengths)
    begins = starts - tf.cumsum(lengths, exclusive=True)
    return owners, tf.range(tf.size(owners)) + tf.gather(begins, owners)


def _added(rows, columns, width, *values):
    """Values of equal cells added up: row and column of each cell, and the sums."""
    cells = tf.cast(rows, tf.int64) * width + tf.cast(columns, tf.int64)
    found, places = tf.unique(cells)
    sums = [tf.math.unsorted_segment_sum(each, places, tf.size(found)) for each in values]
    return (found // width, found % width), sums


def _dense(values, rows, batch):
    """`[batch, any]` of values of ascending rows, filled up with 0."""
    return tf.RaggedTensor.from_value_rowids(
        values, rows, nrows=tf.cast(batch, tf.int64)
    ).to_tensor()
