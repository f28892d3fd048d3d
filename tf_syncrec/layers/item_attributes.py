"""What is known of items, as a part of their vectors: category, brand, words of the title."""

import keras
import numpy as np
import scipy.sparse as sparse
import tensorflow as tf

from tf_syncrec.data.item_attributes import matrix_of
from tf_syncrec.utils.variables import BYTES_AT_ONCE, as_array, fill


@keras.saving.register_keras_serializable("tf_syncrec")
class ItemAttributes(keras.layers.Layer):
    """A vector of an item that follows from its attributes alone.

    `a_i = sum over attributes f of item i of x_if E_f, + z_i P`, where x is a sparse matrix of
    shares, E a table of attribute vectors, which all items with an attribute have in common, z
    ready-made vectors of the item and P a projection. X and Z are given; E and P are learned.

    Args:
        num_items: |V|, the number of items over all domains.
        size: number of attributes.
        per_item: the most attributes of an item.
        dim: r.
        ready_made: width of the ready-made vectors; 0: there are none.

    References:
        - [Metadata Embeddings for User and Item Cold-start Recommendations](
          https://arxiv.org/abs/1507.08439)

    ```python
    attributes = ItemAttributes(num_items=15, size=40, per_item=3, dim=8)
    vectors = attributes(tf.constant([3, 12]))  # (2, 8), 0 until attributes are set and learned
    ```
    """

    def __init__(self, num_items, size, per_item, dim, ready_made=0, **kwargs):
        super().__init__(**kwargs)
        self.num_items = num_items
        self.size = size
        self.per_item = per_item
        self.dim = dim
        self.ready_made = ready_made

    def build(self, input_shape=None):
        """Creates X, `[items + 1, per_item]` twice, E `[size + 1, dim]`; and Z and P."""

        def given(width, dtype, name):
            return self.add_weight(
                shape=(self.num_items + 1, width),
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                name=name,
            )

        self.ids = given(self.per_item, "int32", "ids")
        self.shares = given(self.per_item, "float32", "shares")
        # Zero: an item begins as what it is by itself. The sum has a gradient all the same.
        self.table = self.add_weight(
            shape=(self.size + 1, self.dim), initializer="zeros", name="table"
        )
        if self.ready_made:
            self.vectors = given(self.ready_made, "float32", "vectors")
            self.projection = self.add_weight(
                shape=(self.ready_made, self.dim), initializer="zeros", name="projection"
            )
        self.built = True

    def set(self, ids: np.ndarray, shares: np.ndarray, vectors: np.ndarray | None = None) -> None:
        """Says what is known of each item.

        Args:
            ids: `[items + 1, per_item]` int32, attributes from 1, 0 is none.
            shares: the same shape, float32.
            vectors: Z, `[items + 1, ready_made]` float32, where there are such.
        """
        fill(self.ids, ids)
        fill(self.shares, shares)
        if self.ready_made:
            fill(self.vectors, vectors)

    def matrix(self) -> sparse.csr_array:
        """X, `[items + 1, size + 1]` float32."""
        return matrix_of(as_array(self.ids), as_array(self.shares), self.size)

    def given(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What `set` was told; not to be changed."""
        vectors = as_array(self.vectors) if self.ready_made else None
        return as_array(self.ids), as_array(self.shares), vectors

    def call(self, items):
        """The part of items that follows from their attributes.

        Args:
            items: `[n]` int32 ids.

        Returns:
            `[n, dim]` float32; 0 of an item of which nothing is known.
        """
        ids = tf.gather(self.ids.value, items)
        held = tf.where(ids > 0)
        matrix = tf.SparseTensor(
            tf.stack([held[:, 0], tf.cast(tf.gather_nd(ids, held), tf.int64)], axis=1),
            tf.gather_nd(tf.gather(self.shares.value, items), held),
            tf.stack([tf.size(items, tf.int64), self.size + 1]),
        )
        vectors = tf.sparse.sparse_dense_matmul(matrix, self.table.value)
        if self.ready_made:
            vectors += tf.matmul(tf.gather(self.vectors.value, items), self.projection.value)
        return vectors

    def of_all(self) -> np.ndarray:
        """The same of all items, `[items + 1, dim]` float32."""
        ids = tf.range(self.num_items + 1)
        step = max(BYTES_AT_ONCE // (8 * self.dim), 1)
        parts = [self(ids[start : start + step]) for start in range(0, len(ids), step)]
        return np.concatenate([part.numpy() for part in parts])

    def known(self, items):
        """Whether anything is known of items, bool of the shape of `items`."""
        known = tf.gather(self.ids.value, items)[..., 0] > 0
        if self.ready_made:
            known |= tf.reduce_any(tf.gather(self.vectors.value, items) != 0, axis=-1)
        return known

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.dim)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_items": self.num_items,
            "size": self.size,
            "per_item": self.per_item,
            "dim": self.dim,
            "ready_made": self.ready_made,
        }
