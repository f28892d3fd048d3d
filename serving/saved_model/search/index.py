"""The one place that imports TensorFlow Recommenders: top-k search in the items of a domain."""

from collections.abc import Callable, Sequence
from unittest import mock

import tensorflow as tf
import tf_keras

from serving.saved_model.search.best import best
from serving.saved_model.search.bfloat16_index import Bfloat16Index
from serving.saved_model.search.rows import rows_of
from serving.saved_model.search.scann_index import MIN_ITEMS, ScannIndex

# TFRS (0.7.7) is written for Keras 2, which it looks for in the name that TensorFlow gives to
# Keras 3. It finds it there while it is imported, whatever the process has done with that name
# before, and the name is Keras 3 again afterwards. It also loads ScaNN of its own accord, and
# cannot be imported where that is of another TensorFlow.
with (
    mock.patch.dict(vars(tf), keras=tf_keras),
    mock.patch.dict("sys.modules", scann=None),
):
    from tensorflow_recommenders.layers.factorized_top_k import BruteForce


Scores = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Scores `[rows, n]` of queries `[rows, width]` and candidates `[n, any]` or `[rows, n, any]`."""

FEW = 16
"""Rows up to which TensorFlow's product takes half the time with the items first (from 2 rows on;
20,000 to a million items, r = 64 and 128): else it copies all items into another order."""

ALIGNED = 16
"""Columns of float32 that vectors are filled up to: 64 bytes, so that a slice copies nothing."""


def _dot_products(queries, candidates):
    """The usual `Scores`, of candidates that are filled up."""
    queries = _filled_up(queries)
    if candidates.shape.rank == 2:
        rows = tf.shape(queries)[0]
        return tf.cond(
            (rows > 1) & (rows <= FEW),
            lambda: tf.transpose(tf.matmul(candidates, queries, transpose_b=True)),
            lambda: tf.matmul(queries, candidates, transpose_b=True),
        )
    return tf.einsum("bd,bnd->bn", queries, candidates)


def _filled_up(vectors):
    """With columns of 0, which change no dot product."""
    return tf.pad(vectors, [[0, 0], [0, -vectors.shape[1] % ALIGNED]])


class ExactIndex(BruteForce):
    """Scores all items of a slice of what it was given, and sorts out the best.

    Attributes:
        of_candidates: how queries and candidates become scores.
    """

    of_candidates: Scores = staticmethod(_dot_products)

    def call(self, queries, k, first, size):
        """The best of `size` items from row `first`.

        Args:
            queries: `[rows, dim]` float32.
            k: scalar int32, at most `size`.
            first: scalar int32.
            size: scalar int32.

        Returns:
            Scores and rows of the table, `[rows, k]`, best first; of equal scores the first.
        """
        scores, places = best(self.scores(queries, first, size), k)
        return scores, first + places

    @property
    def table(self) -> tf.Variable:
        """What `index` was given, `[items, dim]`."""
        return self._candidates

    def scores(self, queries, first, size) -> tf.Tensor:
        """Of `size` items from row `first`: `[rows, size]`."""
        return self.of_candidates(queries, tf.slice(self._candidates, [first, 0], [size, -1]))

    def scores_of(self, queries, rows) -> tf.Tensor:
        """Of some rows of the table, `[rows, any]`, for each query."""
        return self.of_candidates(queries, rows_of(self._candidates, rows))


class ItemIndex(tf.Module):
    """Top-k search in the items of any one domain.

    The domain is a tensor, so one graph serves all domains; their items are slices of one table.

    Args:
        vectors: `[items, dim]` float32 candidate vectors, in the order of item ids, which count
            from 1 and are contiguous by domain.
        sizes: items of each domain.
        index: one of `saved_model.INDEXES`; by ScaNN, few items are searched exactly in any case.
        scores: how queries and vectors become scores; None: by dot products, and only `exact` has
            another.
    """

    def __init__(
        self,
        vectors: tf.Tensor,
        sizes: Sequence[int],
        index: str = "exact",
        scores: Scores | None = None,
    ):
        super().__init__(name="item_index")
        self._sizes = tf.constant(sizes, tf.int32)
        self._firsts = tf.cumsum(self._sizes, exclusive=True)
        self._table = Bfloat16Index(vectors) if index == "bfloat16" else _exact(vectors, scores)
        self._approximate = []
        branches = []  # 0 of those that are searched exactly
        for first, size in zip(self._firsts.numpy(), sizes, strict=True):
            searched = index == "scann" and size >= MIN_ITEMS
            if searched:
                self._approximate.append(ScannIndex(self._table.table, int(first), size))
            branches.append(len(self._approximate) if searched else 0)
        self._branches = tf.constant(branches, tf.int32)

    def __call__(self, queries, domain, k):
        """The best items of each query.

        Args:
            queries: `[rows, dim]` float32.
            domain: scalar int32.
            k: scalar int32, at most `size(domain)`.

        Returns:
            Scores and item ids, `[rows, k]`, best first.
        """

        def exact():
            first, size = self._firsts[domain], self._sizes[domain]
            scores, rows = self._table(queries, k=k, first=first, size=size)
            return scores, rows + 1

        if not self._approximate:
            return exact()
        others = [
            lambda index=index: index(_filled_up(queries), k=k) for index in self._approximate
        ]
        return tf.switch_case(self._branches[domain], [exact, *others])

    def size(self, domain) -> tf.Tensor:
        """Items of a domain."""
        return self._sizes[domain]

    def offset(self, domain) -> tf.Tensor:
        """First item id of a domain."""
        return self._firsts[domain] + 1

    def scores(self, queries, domain) -> tf.Tensor:
        """Of all items of a domain, `[rows, size]`."""
        return self._table.scores(queries, self._firsts[domain], self._sizes[domain])

    def scores_of(self, queries, items) -> tf.Tensor:
        """Of some items, `[rows, any]` ids from 1, for each query; any number for others."""
        return self._table.scores_of(queries, tf.maximum(items - 1, 0))


def _exact(vectors, scores):
    exact = ExactIndex()
    if scores:
        exact.of_candidates = scores
    else:
        vectors = _filled_up(vectors)
    return exact.index(vectors)
