"""Packs short sequences into full rows, so that no step is spent on padding."""

import numpy as np
import tensorflow as tf


def first_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Puts lengths into as few rows as first-fit-decreasing finds (at most 11/9 of the fewest).

    Rows are in the order of their longest sequence, so that those of a shuffled batch are in no
    order: replicas take the first or the last of them.

    Args:
        lengths: `[sequences]`, each at most `capacity`.
        capacity: what a row holds.

    Returns:
        `(rows, starts)`, both `[sequences]` int32: the row of each sequence and where it begins.
    """
    free = np.full(len(lengths), capacity)
    rows, starts = np.zeros(len(lengths), np.int32), np.zeros(len(lengths), np.int32)
    longest: list[int] = []
    for i in np.argsort(-lengths, kind="stable"):
        rows[i] = row = np.argmax(free >= lengths[i])
        starts[i] = capacity - free[row]
        free[row] -= lengths[i]
        if row == len(longest):
            longest.append(i)
    place = np.empty(len(longest), np.int32)
    place[np.argsort(longest)] = np.arange(len(longest))
    return place[rows], starts


def pack(items: tf.Tensor, window: int, *beside: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Lays sequences side by side in rows of T targets.

    The first column is for the item before a sequence of T targets; all others begin with (SOS),
    which needs no column.

    Args:
        items: `[sequences, length]` int32, oldest first, padded with 0 on the left; of more than
            T + 1 items the last T + 1 count.
        window: T.
        beside: what is known of each item, such as when it was, each `[sequences, length]`.

    Returns:
        `(items, segments)`, both `[rows, T + 1]` int32: items, 0 where there are none, and the
        sequence that each belongs to, -1 where there is none. Then what is known of the items, 0
        where there are none.
    """
    known = [each[:, -(window + 1) :] for each in (items, *beside)]
    items = known[0]
    lengths = tf.math.count_nonzero(items, axis=1, dtype=tf.int32)
    rows, starts = tf.numpy_function(
        lambda lengths: first_fit(np.minimum(lengths, window), window),
        [lengths],
        (tf.int32, tf.int32),
        stateful=False,
    )
    rows, starts = tf.ensure_shape(rows, [None]), tf.ensure_shape(starts, [None])
    sequences, columns = tf.unstack(tf.cast(tf.where(items > 0), tf.int32), axis=1)
    ends = 1 + tf.gather(starts + tf.minimum(lengths, window), sequences)
    cells = tf.stack([tf.gather(rows, sequences), ends - (tf.shape(items)[1] - columns)], axis=1)
    shape = [tf.reduce_max(rows) + 1, window + 1]
    packed, *others = (
        tf.scatter_nd(cells, tf.gather_nd(each, tf.stack([sequences, columns], 1)), shape)
        for each in known
    )
    segments = tf.tensor_scatter_nd_update(tf.fill(shape, -1), cells, sequences)
    return packed, segments, *others
