"""The items that a target is compared with."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_syncrec")
class UniformNegatives:
    """Draws items uniformly from the target's domain, with replacement; all of a small domain.

    A domain of at most `count` items is compared with as a whole, each item once: a draw of as many
    would cost the same and miss some.

    One set of items for all targets of a domain costs a matrix product, a set for each target a
    lookup of each of its items. Another way to draw is a subclass with a `__call__` of its own.

    Args:
        count: items of a set.
        shared: whether all targets of a domain in a batch share a set.

    ```python
    negatives = UniformNegatives(4)
    offsets, sizes = tf.constant([1, 101]), tf.constant([100, 50])
    ids = negatives(tf.range(2), offsets, sizes, keras.random.SeedGenerator(0))  # (2, 4)
    ```
    """

    def __init__(self, count=256, shared=True):
        if count < 1:
            raise ValueError(f"count must be at least 1. Received: {count=}")
        self.count = count
        self.shared = shared

    def __call__(self, domains, offsets, sizes, seed):
        """Item ids of given domains.

        Args:
            domains: int32 domain indices of any shape: all domains where sets are shared, else the
                domain of each target.
            offsets: `[domains]` int32, first item id of each domain.
            sizes: `[domains]` int32, items in each domain.
            seed: a `keras.random.SeedGenerator`.

        Returns:
            int32 ids of shape `domains.shape + [count]`; 0 is no item, and fills up the set of a
            domain with fewer than `count`.
        """
        return sample_in_domain(domains, self.count, offsets, sizes, seed)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"count": self.count, "shared": self.shared}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UniformNegatives":
        """From `get_config`."""
        return cls(**config)

    @classmethod
    def get(cls, identifier: "int | dict[str, Any] | UniformNegatives") -> "UniformNegatives":
        """The sampler that is meant: a number of items, a serialised sampler, or one."""
        if isinstance(identifier, dict):
            identifier = keras.saving.deserialize_keras_object(identifier)
        if isinstance(identifier, int):
            return cls(identifier)
        if not isinstance(identifier, UniformNegatives):
            raise ValueError(
                f"negatives must be a number or a UniformNegatives. Received: {identifier!r}"
            )
        return identifier


def sample_in_domain(domains, count, offsets, sizes, seed):
    """As `UniformNegatives`, of which this is the draw."""
    shape = tf.concat([tf.shape(domains), [count]], axis=0)
    bits = tf.random.stateless_uniform(
        shape, tf.cast(seed.next(), tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    first, size = (tf.gather(of_all, domains)[..., None] for of_all in (offsets, sizes))
    # 2^31 is far above any catalogue, so the remainder is uniform to within a millionth.
    drawn = first + tf.math.floormod(bits, tf.maximum(size, 1))
    each = tf.range(count)
    return tf.where(size > count, drawn, tf.where(each < size, first + each, 0))
