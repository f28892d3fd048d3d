"""The one place that imports TensorFlow Recommenders: an exact top-k index of a domain."""

import tf_syncrec  # noqa: F401  # isort: skip  (first: it chooses the Keras that TFRS finds)
import tensorflow as tf
from tensorflow_recommenders.layers.factorized_top_k import BruteForce


def domain_index(candidates: tf.Tensor, first_id: int) -> BruteForce:
    """Index over the items of one domain.

    Args:
        candidates: `[items, dim]` candidate vectors of the domain's slice.
        first_id: item id of the first row.

    Returns:
        A layer: `(queries [batch, dim], k) -> (scores, item ids)`, both `[batch, k]`, best first.
    """
    identifiers = tf.range(first_id, first_id + candidates.shape[0], dtype=tf.int32)
    return BruteForce().index(candidates, identifiers)
