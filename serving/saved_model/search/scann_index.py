"""An approximate top-k index of a domain by ScaNN, of the optional extra `scann`.

Not `tfrs.layers.factorized_top_k.ScaNN`: it leaves the searcher of a loaded index without a name of
its own, so that the second index of a SavedModel, or of a second version in the same process, may
answer with the items of the first.
"""

import uuid
from pathlib import Path
from types import ModuleType

import tensorflow as tf

from data_prep import InputError
from serving.saved_model.search.rows import rows_of

NAMESPACE = "Scann"
"""Of ScaNN's operations, which TensorFlow knows only once ScaNN is imported."""

MIN_ITEMS = 20_000
"""Of a domain: below, nothing is won (scann/docs/algorithms.md says the same)."""
CANDIDATES, CANDIDATES_PER_ANSWER = 500, 3
"""That are scored exactly: so many, and so many for each answer that is wanted."""


def operations() -> ModuleType:
    """ScaNN's operations, from now on known to TensorFlow.

    Raises:
        InputError: ScaNN is not installed, or was built for another TensorFlow.
    """
    try:
        from scann.scann_ops.py import scann_ops
    except (ImportError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"ScaNN cannot be loaded with TensorFlow {tf.__version__}: {reason}. "
            "`make scann` makes an environment with both: docs/serving.md"
        ) from None
    return scann_ops


def uses_scann(version: Path) -> bool:
    """Whether a SavedModel needs `operations` before it can be loaded."""
    file = version / tf.saved_model.SAVED_MODEL_FILENAME_PB
    return file.exists() and f"{NAMESPACE}>TensorsToScann".encode() in file.read_bytes()


class ScannIndex(tf.Module):
    """Approximate search in the items of one domain; the scores of what it finds are exact.

    Compressed vectors (asymmetric hashing, 4 bits for two dimensions) choose candidates among all
    items, the vectors themselves score them. There is no partition into leaves of
    which only the nearest are searched: it halves the time of a million items, but where vectors
    do not form clusters it finds 75 to 89 % of the best in 15 to 30 % of the leaves. Where many
    are wanted, as after a very long history, the search is exact.

    Args:
        table: vectors of all items, float32, `[rows, dim]`.
        first: row of the domain's first item; the item of row 0 has id 1.
        size: items of the domain.

    Raises:
        InputError: as `operations`.
    """

    def __init__(self, table: tf.Variable, first: int, size: int):
        super().__init__(name="scann_index")
        ops = operations()
        self._table, self._first, self._size = table, first, size
        candidates = table[first : first + size]
        # Of all that are ever loaded into one process: by this name the searcher is found there.
        self._shared_name = f"scann_index/{uuid.uuid4()}"
        searcher = (
            ops.builder(candidates, num_neighbors=CANDIDATES, distance_measure="dot_product")
            .score_ah(dimensions_per_block=2, anisotropic_quantization_threshold=0.2)
            .build(shared_name=f"{self._shared_name}/training")
        )
        *parts, vectors = ops.scann_to_tensors(searcher.searcher_handle)
        self._parts = [tf.Variable(part, trainable=False) for part in (vectors, *parts)]

    def __call__(self, queries: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`(queries [batch, dim], k) -> (scores, item ids)`, both `[batch, k]`, best first."""

        def exact():
            candidates = tf.slice(self._table, [self._first, 0], [self._size, -1])
            scores, rows = tf.math.top_k(tf.matmul(queries, candidates, transpose_b=True), k)
            return scores, rows + self._first + 1

        def approximate():
            ops = operations()
            handle = ops.tensors_to_scann(*self._parts, shared_name=self._shared_name)
            rows, _ = ops.ScannSearcher(handle).search_batched_parallel(queries, wanted)
            vectors = rows_of(self._table, rows + self._first)  # (batch, wanted, dim)
            scores, best = tf.math.top_k(tf.einsum("bd,bnd->bn", queries, vectors), k)
            return scores, tf.gather(rows, best, batch_dims=1) + self._first + 1

        wanted = CANDIDATES + CANDIDATES_PER_ANSWER * k
        nothing = tf.shape(queries)[0] == 0  # ScaNN would answer with no columns either
        return tf.cond(nothing | (wanted > self._size // 10), exact, approximate)
