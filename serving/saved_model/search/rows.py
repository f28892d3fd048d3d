"""Rows of a table that is also read as a whole."""

import tensorflow as tf


def rows_of(table: tf.Variable, rows) -> tf.Tensor:
    """`tf.gather` from what the variable holds.

    Of the variable itself it would be a `ResourceGather`, which prepares it for sparse updates:
    from then on (TensorFlow 2.21, `EnsureSparseVariableAccess`) every other read copies all of it,
    half a gigabyte for a million items.
    """
    return tf.gather(tf.convert_to_tensor(table), rows)
