"""Exact best items by vectors and votes together, from the best by vectors alone."""

import tensorflow as tf


def with_votes(scores, ids, voted, votes, vector_scores):
    """Candidates that hold the best items of one domain once votes are added.

    Votes are never negative but for items of the history (which may have been bought just now). An
    item without votes that is not among the k best by vectors is behind k items. With as many more
    as the history has items, k' of them are none of it, and votes can only raise these. So the k'
    best of all are among the k best by vectors and the items that have votes.

    Args:
        scores: `[rows, k]` float32, by vectors, best first.
        ids: `[rows, k]` int32, distinct in a row.
        voted: `[rows, n]` int32, items that have votes; 0 is none; may repeat.
        votes: `[rows, n]` float32.
        vector_scores: ids `[rows, n]` -> their scores by vectors, `[rows, n]`.

    Returns:
        Scores with votes, and ids, both `[rows, k + n]`: the items that have votes once each, the
        others of `ids`, and places without an item, of score -inf and id 0.
    """
    rows, n = tf.shape(voted)[0], tf.shape(voted)[1]
    order = tf.argsort(voted, axis=1)
    voted, votes = (tf.gather(x, order, batch_dims=1) for x in (voted, votes))
    begins = tf.concat([tf.ones_like(voted[:, :1], tf.bool), voted[:, 1:] != voted[:, :-1]], axis=1)
    # Equal ids stand together: the n-th run of a row becomes its n-th place.
    place = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1 + n * tf.range(rows)[:, None]
    sums = tf.reshape(tf.math.unsorted_segment_sum(votes, place, rows * n), [rows, n])
    items = tf.reshape(tf.math.unsorted_segment_max(voted, place, rows * n), [rows, n])
    items = tf.maximum(items, 0)  # of places without a run, the lowest number
    with_sums = tf.where(items > 0, vector_scores(items) + sums, float("-inf"))

    # `voted` is sorted; a number that no id reaches makes the search valid for n = 0 as well.
    padded = tf.pad(voted, [[0, 0], [0, 1]], constant_values=voted.dtype.max)
    found = tf.gather(padded, tf.searchsorted(padded, ids), batch_dims=1) == ids
    scores = tf.where(found, float("-inf"), scores)
    return tf.concat([scores, with_sums], axis=1), tf.concat([tf.where(found, 0, ids), items], 1)
