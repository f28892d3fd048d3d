"""The one place that imports TensorFlow Recommenders: top-k search in the items of a domain."""

from collections.abc import Callable, Sequence
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

ALIGNED = 16
"""Columns of float32 that vectors are filled up to: 64 bytes, so that a slice copies nothing."""


def _dot_products(queries, candidates):
    """The usual `Scores`, of candidates that are filled up."""
    queries = _filled_up(queries)
    if candidates.shape.rank == 2:
        return tf.matmul(queries, candidates, transpose_b=True)
    return tf.einsum("bd,bnd->bn", queries, candidates)


def _filled_up(vectors):
    """With columns of 0, which change no dot product."""
    return tf.pad(vectors, [[0, 0], [0, -vectors.shape[1] % ALIGNED]])


class ExactIndex(BruteForce):
    """Scores all items of a slice of what it was given, and sorts out the best.

    Attributes:
        scores: how queries and candidates become scores.
    """

    scores: Scores = staticmethod(_dot_products)

    def call(self, queries, k, first, size):
        """The best of `size` items from row `first`: scores and ids, `[batch, k]`, best first."""
        scores, places = best(self.scores(queries, self.rows(first, size)), k)
        return scores, tf.gather(self._identifiers, first + places)

    @property
    def table(self) -> tf.Variable:
        """What `index` was given, `[items, dim]`."""
        return self._candidates

    def rows(self, first, size) -> tf.Tensor:
        """Vectors `[size, dim]` of a slice."""
        return tf.slice(self._candidates, [first, 0], [size, -1])

    def vectors(self, rows) -> tf.Tensor:
        """Vectors `[..., dim]` of some rows."""
        return tf.gather(self._candidates, rows)


class ItemIndex(tf.Module):
    """Top-k search in the items of any one domain.

    The domain is a tensor, so one graph serves all domains; their items are slices of one table.

    Args:
        vectors: `[items, dim]` float32 candidate vectors, in the order of item ids, which count
            from 1 and are contiguous by domain.
        sizes: items of each domain.
        index: one of `saved_model.INDEXES`; few items are searched exactly in any case.
        scores: how queries and vectors become scores; None: by dot products, and ScaNN has no
            other.
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
        exact = ExactIndex()
        if scores:
            exact.scores = scores
        else:
            vectors = _filled_up(vectors)
        self._exact = exact.index(vectors, tf.range(1, len(vectors) + 1))
        self._approximate = []
        branches = []  # 0 of those that are searched exactly
        for first, size in zip(self._firsts.numpy(), sizes, strict=True):
            searched = index == "scann" and size >= MIN_ITEMS
            if searched:
                self._approximate.append(ScannIndex(self._exact.table, int(first), size))
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
            return self._exact(queries, k=k, first=self._firsts[domain], size=self._sizes[domain])

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
        rows = self._exact.rows(self._firsts[domain], self._sizes[domain])
        return self._exact.scores(queries, rows)

    def scores_of(self, queries, items) -> tf.Tensor:
        """Of some items, `[rows, any]` ids from 1, for each query; any number for others."""
        return self._exact.scores(queries, self._exact.vectors(tf.maximum(items - 1, 0)))


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
