"""The one place that imports TensorFlow Recommenders: a top-k index of a domain."""

from unittest import mock

import tensorflow as tf
import tf_keras

from serving.saved_model.scann_index import MIN_ITEMS, ScannIndex

# TFRS (0.7.7) is written for Keras 2, which it looks for in the name that TensorFlow gives to
# Keras 3. It finds it there while it is imported, whatever the process has done with that name
# before, and the name is Keras 3 again afterwards. It also loads ScaNN of its own accord, and
# cannot be imported where that is of another TensorFlow.
with (
    mock.patch.dict(vars(tf), keras=tf_keras),
    mock.patch.dict("sys.modules", scann=None),
):
    from tensorflow_recommenders.layers.factorized_top_k import BruteForce


class ExactIndex(BruteForce):
    """Scores all items, and sorts out the best."""

    @property
    def candidates(self) -> tf.Variable:
        """What `index` was given, `[items, dim]`."""
        return self._candidates


def domain_index(
    candidates: tf.Tensor, first_id: int, index: str = "exact"
) -> ExactIndex | ScannIndex:
    """Index over the items of one domain.

    Args:
        candidates: `[items, dim]` candidate vectors of the domain's slice.
        first_id: item id of the first row.
        index: one of `saved_model.INDEXES`; few items are searched exactly in any case.

    Returns:
        A layer: `(queries [batch, dim], k) -> (scores, item ids)`, both `[batch, k]`, best first;
        its `candidates` are those that were given.
    """
    if index == "scann" and candidates.shape[0] >= MIN_ITEMS:
        return ScannIndex(candidates, first_id)
    identifiers = tf.range(first_id, first_id + candidates.shape[0], dtype=tf.int32)
    return ExactIndex().index(candidates, identifiers)
