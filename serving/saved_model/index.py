"""The one place that imports TensorFlow Recommenders: a top-k index of a domain."""

import sys
from collections.abc import Callable

import tf_syncrec  # noqa: F401  # isort: skip  (first: it chooses the Keras that TFRS finds)
import tensorflow as tf

from serving.saved_model.scann_index import MIN_ITEMS, ScannIndex

# TFRS loads ScaNN of its own accord, and cannot be imported where that is of another TensorFlow.
_modules: dict = sys.modules
_scann = _modules.get("scann")
_modules["scann"] = None
try:
    from tensorflow_recommenders.layers.factorized_top_k import BruteForce
finally:
    del _modules["scann"]
    if _scann is not None:
        _modules["scann"] = _scann

INDEXES = ("exact", "scann")
"""How the items of a domain are searched."""


def domain_index(candidates: tf.Tensor, first_id: int, index: str = "exact") -> Callable:
    """Index over the items of one domain.

    Args:
        candidates: `[items, dim]` candidate vectors of the domain's slice.
        first_id: item id of the first row.
        index: one of `INDEXES`; few items are searched exactly in any case.

    Returns:
        A layer: `(queries [batch, dim], k) -> (scores, item ids)`, both `[batch, k]`, best first.
    """
    if index == "scann" and candidates.shape[0] >= MIN_ITEMS:
        return ScannIndex(candidates, first_id)
    identifiers = tf.range(first_id, first_id + candidates.shape[0], dtype=tf.int32)
    return BruteForce().index(candidates, identifiers)
