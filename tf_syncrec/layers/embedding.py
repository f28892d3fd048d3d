"""Shared embedding layer: items, start tokens, positions (paper 4.1), and times."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers.dropout import Dropout
from tf_syncrec.layers.experts import EPSILON
from tf_syncrec.layers.item_attributes import ItemAttributes
from tf_syncrec.layers.times.embedding import TimeEmbedding
from tf_syncrec.layers.views import PAD, View
from tf_syncrec.utils.variables import fill, in_place

ROWS_AT_ONCE = 1 << 18
"""Rows of M that are drawn together. Drawing takes three times the memory of what is drawn, and
TensorFlow's allocator gives nothing back to the system."""


@keras.saving.register_keras_serializable("tf_syncrec")
class SharedEmbedding(keras.layers.Layer):
    """Embeds both views with one item table M, the start tokens and the positions P.

    The item embeddings of all domains are one matrix, ordered by domain, so that the items of a
    domain are a slice of it. Row 0 belongs to padding and is never trained.

    Args:
        num_items: |V|, the number of items over all domains.
        num_domains: |D|.
        window: T, the number of positions.
        dim: r, the width of the model.
        dropout: rate applied to the embedded sequence in training.
        style: `"paper"`: E + P as it is; `"pre_norm"`: each row of it is normalised, so that an
            item counts as much in the residual stream as what the blocks add to it.
        attributes: of an `ItemAttributes`, which is a part of items' vectors: `size`, `per_item`
            and, where there are ready-made vectors, `ready_made`; None: nothing is known of items.
        own_dropout: rate at which, in a step of the training, an item of which something is known
            is that alone, so that attributes learn to do for items that have nothing else.
        time_inputs: what slots are told of times, some of `times.moments.INPUTS`.

    ```python
    items = tf.constant([[0, 0, 3, 12], [1, 11, 2, 15]])  # of domains with 10 and 5 items
    cross, single = split_views(items, None, offsets=tf.constant([1, 11]), window=3)
    embedding = SharedEmbedding(num_items=15, num_domains=2, window=3, dim=8)
    embedded = embedding(cross)  # (2, 3, 8)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.1.
    """

    def __init__(
        self,
        num_items,
        num_domains,
        window,
        dim,
        dropout=0.0,
        style="pre_norm",
        attributes: Mapping[str, int] | None = None,
        own_dropout=0.0,
        time_inputs: Sequence[str] = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_items = num_items
        self.num_domains = num_domains
        self.window = window
        self.dim = dim
        self.dropout_rate = dropout
        self.style = style
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.attributes = None
        if attributes:
            self.attributes = ItemAttributes(num_items, dim=dim, **attributes, dtype="float32")
        self._sizes_of_attributes = attributes and dict(attributes)
        self.own_dropout = own_dropout
        self._seed = keras.random.SeedGenerator() if attributes and own_dropout else None
        self.times = (
            TimeEmbedding(time_inputs, dim, dtype=self.dtype_policy) if time_inputs else None
        )
        # By thread: the replicas of one process are traced in threads of their own, in turns.
        self._reading = threading.local()
        self._whole: tf.Tensor | None = None

    def build(self, input_shape=None):
        """Creates M `[items + 1, dim]`, (SOS) `[1 + domains, dim]` and P `[window, dim]`."""
        # Unit-length vectors in expectation: a dot product of two of them starts near zero.
        initializer = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        rows = self.num_items + 1
        large = rows > ROWS_AT_ONCE
        self.items = self.add_weight(
            shape=(rows, self.dim),
            initializer="zeros" if large else initializer,
            autocast=False,  # rows are cast once they are read
            name="items",
        )
        self.items.read_by_rows = True  # for `RowwiseAdam`
        for first in range(0, rows if large else 0, ROWS_AT_ONCE):
            ids = tf.range(first, min(first + ROWS_AT_ONCE, rows))
            # Each of these draws its own seed from that of the run.
            piece = keras.initializers.RandomNormal(stddev=self.dim**-0.5)([len(ids), self.dim])
            self.items.value.scatter_update(tf.IndexedSlices(piece, ids))
        self.start_tokens = self.add_weight(
            shape=(1 + self.num_domains, self.dim), initializer=initializer, name="start_tokens"
        )
        self.positions = self.add_weight(
            shape=(self.window, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        if self.attributes is not None:
            self.attributes.build()
        if self.times is not None:
            self.times.build()
        self.built = True

    def call(self, view: View, training=None, vectors=None):
        """Embeds one view.

        Args:
            view: tokens and positions `[batch, slots]`, and times, if it is to be told of them.
            training: whether dropout is on.
            vectors: `[batch, slots, dim]`, of its items, where they are not those of M.

        Returns:
            E + P, and what times say, normalised or not: `[batch, slots, dim]`, zero at padding.
        """
        tokens = view.tokens
        embedded = self.embed_items(tf.maximum(tokens, PAD)) if vectors is None else vectors
        start = tf.gather(tf.convert_to_tensor(self.start_tokens), tf.maximum(-tokens - 1, 0))
        embedded = tf.where((tokens < 0)[..., None], start, embedded)
        embedded += tf.gather(tf.convert_to_tensor(self.positions), view.positions)
        if self.times is not None and view.when is not None:
            embedded += self.times(view.when)
        if self.style == "pre_norm":
            embedded = keras.ops.layer_normalization(embedded, epsilon=EPSILON)
        embedded = self.dropout(embedded, training=training)
        return embedded * tf.cast(tokens != PAD, embedded.dtype)[..., None]

    @property
    def item_weights(self) -> list[keras.Variable]:
        """What vectors of items are made of: M, and what is learned of attributes."""
        learned = [] if self.attributes is None else self.attributes.trainable_weights
        return [self.items, *learned]

    def embed_items(self, items, of_batch=True):
        """Vectors of items: rows of M, and what follows from their attributes.

        Args:
            items: int32 ids of any shape.
            of_batch: whether all of them are in the batch that is being `read`.

        Returns:
            `[..., dim]`.
        """
        batch = getattr(self._reading, "batch", None)
        if batch is not None and of_batch:
            places, vectors = batch
            vectors = tf.gather(vectors, tf.gather(places, items))
        elif self.attributes is None:
            # Through the variable, not a copy of it: the gradient then is the rows that were read.
            vectors = tf.gather(self.items.value, items)
        else:
            vectors = self._combined(tf.reshape(items, [-1]))
            vectors = tf.reshape(vectors, tf.concat([tf.shape(items), [self.dim]], axis=0))
        return tf.cast(vectors, self.compute_dtype)

    def _combined(self, items, drop=False):
        """What items are by themselves and by their attributes, `[n, dim]` of `[n]` ids."""
        assert self.attributes is not None
        own = tf.gather(self.items.value, items)
        return (self.drop_own(own, items) if drop else own) + self.attributes(items)

    def drop_own(self, own, items):
        """Rows of M, `[n, dim]` of `[n]` ids, of which some become 0: see `own_dropout`."""
        if self.attributes is None or self._seed is None:
            return own
        drawn = keras.random.uniform(tf.shape(items), seed=self._seed)
        kept = (drawn >= self.own_dropout) | ~self.attributes.known(items)
        return own * tf.cast(kept, own.dtype)[:, None]

    @contextlib.contextmanager
    def read(self, items) -> Iterator[None]:
        """A step of the training on a batch, inside: each of its items is embedded once.

        Here an item may be without its own part. Without attributes there is nothing to prepare.

        Args:
            items: int32 ids of any shape, all of the batch.
        """
        if self.attributes is None:
            yield
            return
        unique = tf.unique(tf.concat([[PAD], tf.reshape(items, [-1])], axis=0)).y
        places = tf.tensor_scatter_nd_update(
            tf.zeros([self.num_items + 1], tf.int32), unique[:, None], tf.range(tf.size(unique))
        )
        self._reading.batch = places, self._combined(unique, drop=True)
        try:
            yield
        finally:
            self._reading.batch = None

    def set_attributes(self, ids, shares, vectors=None) -> None:
        """Says what is known of items; arguments as of `ItemAttributes.set`."""
        assert self.attributes is not None
        self.attributes.set(ids, shares, vectors)

    def whole_table(self) -> tf.Tensor:
        """Vectors of all items, `[items + 1, dim]` float32; not to be kept, as `in_place`."""
        if self._whole is not None:
            return self._whole
        table = in_place(self.items)
        return table if self.attributes is None else table + self.attributes.of_all()

    def every_item(self, training=None):
        """What all items are, for networks that pass it on along a graph of them.

        Args:
            training: whether items may be without their own part, see `own_dropout`.

        Returns:
            `[items + 1, dim]` float32.
        """
        # Not by `embed_items`: as slices the gradient would be of all rows, whether read or not.
        items, every = tf.convert_to_tensor(self.items.value), tf.range(self.num_items + 1)
        if training:
            items = self.drop_own(items, every)
        return items if self.attributes is None else items + self.attributes(every)

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, no vector of an item changes, so that all of them are made once."""
        if self.attributes is None or self._whole is not None:
            yield
            return
        self._whole = self.whole_table()
        try:
            yield
        finally:
            self._whole = None

    def set_table(self, vectors: np.ndarray) -> None:
        """Gives items vectors; with attributes, their own part is what these do not say."""
        fill(self.items, vectors if self.attributes is None else vectors - self.attributes.of_all())

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_items": self.num_items,
            "num_domains": self.num_domains,
            "window": self.window,
            "dim": self.dim,
            "dropout": self.dropout_rate,
            "style": self.style,
            "attributes": self._sizes_of_attributes,
            "own_dropout": self.own_dropout,
            "time_inputs": [] if self.times is None else list(self.times.inputs),
        }
