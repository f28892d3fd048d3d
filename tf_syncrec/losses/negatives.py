"""Draws negatives uniformly from the target's domain."""

import tensorflow as tf


def sample_in_domain(domains, count, offsets, sizes, seed):
    """Uniform item ids of given domains, with replacement.

    Args:
        domains: int32 domain indices of any shape.
        count: items per entry of `domains`.
        offsets: `[domains]` int32, first item id of each domain.
        sizes: `[domains]` int32, items in each domain.
        seed: a `keras.random.SeedGenerator`.

    Returns:
        int32 ids of shape `domains.shape + [count]`; 0 where a domain has no items.
    """
    shape = tf.concat([tf.shape(domains), [count]], axis=0)
    bits = tf.random.stateless_uniform(
        shape, tf.cast(seed.next(), tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    # 2^31 is far above any catalogue, so the remainder is uniform to within a millionth.
    size = tf.gather(sizes, domains)[..., None]
    drawn = tf.gather(offsets, domains)[..., None] + tf.math.floormod(bits, tf.maximum(size, 1))
    return tf.where(size > 0, drawn, 0)
