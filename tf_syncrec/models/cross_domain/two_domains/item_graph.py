"""Which item came after which in training, and vectors that are passed on along that."""

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import USERS_AT_ONCE
from tf_syncrec.utils.variables import fill


def transitions(prepared: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Edges from an item to those that came right after it in somebody's training sequence.

    Args:
        prepared: dataset with a `train` split.

    Returns:
        Of merged sequences, and of those of single domains: `[edges, 2]` int32 ids each, ordered,
        every edge once.
    """
    rows_of_table = prepared.catalogue.num_items + 1
    domains = np.append(-1, prepared.catalogue.item_domains)
    found: tuple[list, list] = ([], [])
    for rows in prepared.as_dataset("train").ragged_batch(USERS_AT_ONCE):
        items = rows["items"].flat_values.numpy().astype(np.int64)
        users = rows["items"].value_rowids().numpy()
        # Stable: within a user and domain, items stay in their order.
        by_domain = np.lexsort((domains[items], users))
        for order, edges in zip((slice(None), by_domain), found, strict=True):
            i, user = items[order], users[order]
            after = user[1:] == user[:-1]
            if order is by_domain:
                after &= domains[i[1:]] == domains[i[:-1]]
            edges.append(np.unique(i[:-1][after] * rows_of_table + i[1:][after]))
    both = (np.unique(np.concatenate([np.zeros(0, np.int64), *edges])) for edges in found)
    merged, single = (
        np.stack(np.divmod(edges, rows_of_table), axis=1).astype(np.int32) for edges in both
    )
    return merged, single


class ItemGraph(keras.layers.Layer):
    """`mean of G_0 .. G_L` with `G_l = A G_(l-1)`: A has a row of each item, the mean of its edges.

    Args:
        num_items: |V|.
        dim: r.
        edges: how many; None: what it returns is a weight, where nothing is trained any more.
        depth: L.

    Reference: Contrastive Cross-Domain Sequential Recommendation (CIKM 2022), section 4.1.
    """

    def __init__(self, num_items, dim, edges, depth=1, **kwargs):
        super().__init__(**kwargs)
        self.num_items, self.dim, self.num_edges, self.depth = num_items, dim, edges, depth

    def build(self, input_shape=None):
        """Creates the list of edges, `[edges, 2]`; or the vectors, `[items + 1, dim]`."""
        rows = self.num_items + 1
        kept = {"initializer": "zeros", "trainable": False}
        if self.num_edges is None:
            self.vectors = self.add_weight(shape=(rows, self.dim), name="vectors", **kept)
        else:
            # Ordered by its first column, as products with sparse matrices are faster then.
            shape = (self.num_edges, 2)
            self.edges = self.add_weight(shape=shape, dtype="int32", name="edges", **kept)
        self.built = True

    def set_edges(self, edges: np.ndarray) -> None:
        """Says which item came after which, `[edges, 2]` ids, ordered."""
        fill(self.edges, edges)

    def call(self, items):
        """Passes on.

        Args:
            items: vectors of all items, `[items + 1, dim]`; not read where vectors are a weight.

        Returns:
            `[items + 1, dim]` float32.
        """
        if self.num_edges is None:
            return tf.convert_to_tensor(self.vectors)
        rows = self.num_items + 1
        edges = self.edges.value
        degrees = tf.math.unsorted_segment_sum(tf.ones([self.num_edges]), edges[:, 0], rows)
        adjacency = tf.SparseTensor(
            tf.cast(edges, tf.int64), 1.0 / tf.gather(degrees, edges[:, 0]), [rows, rows]
        )
        passed = tf.cast(items, tf.float32)
        total = passed
        for _ in range(self.depth):
            passed = tf.sparse.sparse_dense_matmul(adjacency, passed)
            total += passed
        return total / (self.depth + 1)
