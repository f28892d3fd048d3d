"""The one place that imports TensorFlow Recommenders: a top-k index of a domain."""

from collections.abc import Callable
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


BLOCK = 64
"""Items of which the highest score alone is looked at first, see `best`."""

Scores = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Scores `[rows, n]` of queries `[rows, width]` and candidates `[n, any]` or `[rows, n, any]`."""


def dot_products(queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """The usual `Scores`, of candidates for all rows."""
    return tf.matmul(queries, candidates, transpose_b=True)


class ExactIndex(BruteForce):
    """Scores all items, and sorts out the best.

    Args:
        scores: how a query and candidates become scores.
    """

    def __init__(self, scores: Scores):
        super().__init__()
        self._scores = scores

    def call(self, queries, k=None):
        """The best k items of each query: scores and ids, `[batch, k]`, best first."""
        scores, places = best(self._scores(queries, self._candidates), k)
        return scores, tf.gather(self._identifiers, places)

    @property
    def candidates(self) -> tf.Variable:
        """What `index` was given, `[items, dim]`."""
        return self._candidates


def best(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """As `tf.math.top_k`, ties too, in a third of the time where k is small beside the items.

    The k best are in the k blocks of items with the highest maximum (of equal ones the first):
    were one of them in another block, each of these k would have an item before it.

    Args:
        scores: `[rows, items]` float32, finite, items known beforehand.
        k: scalar int32, at most the number of items.

    Returns:
        Scores and places, `[rows, k]`, best first.
    """
    items = scores.shape[1]
    blocks = items // BLOCK
    k = tf.convert_to_tensor(k, tf.int32)

    def of_all():
        return tuple(tf.math.top_k(scores, k=k))

    def of_blocks():
        rows = tf.shape(scores)[0]
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


def domain_index(
    candidates: tf.Tensor, first_id: int, index: str = "exact", scores: Scores = dot_products
) -> ExactIndex | ScannIndex:
    """Index over the items of one domain.

    Args:
        candidates: `[items, dim]` candidate vectors of the domain's slice.
        first_id: item id of the first row.
        index: one of `saved_model.INDEXES`; few items are searched exactly in any case.
        scores: how a query and candidates become scores; ScaNN has dot products alone.

    Returns:
        A layer: `(queries [batch, dim], k) -> (scores, item ids)`, both `[batch, k]`, best first;
        its `candidates` are those that were given.
    """
    if index == "scann" and candidates.shape[0] >= MIN_ITEMS:
        return ScannIndex(candidates, first_id)
    identifiers = tf.range(first_id, first_id + candidates.shape[0], dtype=tf.int32)
    return ExactIndex(scores).index(candidates, identifiers)
