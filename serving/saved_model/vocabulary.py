"""Raw ids and names to numbers, and back."""

from collections.abc import Iterable

import tensorflow as tf

from data_prep import Catalogue


class Vocabulary(tf.Module):
    """What the model calls items and domains by.

    Args:
        catalogue: raw ids and domains of the items, ordered by item id.
    """

    def __init__(self, catalogue: Catalogue):
        super().__init__(name="vocabulary")
        ids = ["", *catalogue.item_ids]
        self.domains = list(catalogue.domains)
        self.item_ids = tf.Variable(ids, trainable=False, name="item_ids")
        self._items = table(ids[1:], start=1, default=0)
        self._domains = table(self.domains, start=0, default=-1)

    def ids(self, items):
        """Numbers of raw ids of any shape, 0 of those that are unknown."""
        return self._items.lookup(items)

    def histories(self, items, *beside):
        """Known items at the right, in order, however unknown ones and `""` lie between them.

        Args:
            items: `[batch, any]` raw ids, oldest first.
            beside: what is known of each, such as when it was, each `[batch, any]`.

        Returns:
            Item ids `[batch, most known]`, padded with 0 on the left, and how many are known,
            `[batch]`; what is known of these items, as the ids.
        """
        ids = self.ids(items)
        known = tf.cast(ids > 0, tf.int32)
        known_items = tf.reduce_sum(known, axis=1)
        order = tf.argsort(known, axis=1, stable=True)
        most = tf.maximum(tf.reduce_max(known_items), 0)  # of a batch without rows, too
        order = order[:, tf.shape(ids)[1] - most :]
        ids, *others = (tf.gather(x, order, batch_dims=1) for x in (ids, *beside))
        return ids, known_items, *others

    def domain_indices(self, names):
        """Indices `[batch]`, 0 where every domain is wanted (`""`), and where that is so.

        An unknown name is an InvalidArgumentError that says which there are.
        """
        every = names == ""
        index = self._domains.lookup(names)
        tf.debugging.Assert(
            tf.reduce_all(every | (index >= 0)),
            [
                f"unknown domain; known: {', '.join(self.domains)} "
                "(or an empty string for every domain). Received:",
                tf.boolean_mask(names, ~every & (index < 0)),
            ],
            summarize=5,
        )
        return tf.maximum(index, 0), every

    def names(self, ids, domains):
        """Raw ids, and names of domains, of numbers of one shape."""
        return tf.gather(self.item_ids, ids), tf.gather(tf.constant(self.domains), domains)


def table(keys: Iterable, start: int, default: int) -> tf.lookup.StaticHashTable:
    """Strings to numbers, counted from `start`."""
    strings = tf.constant(list(keys), tf.string)
    numbers = start + tf.range(tf.size(strings))
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(strings, numbers), default_value=default
    )
