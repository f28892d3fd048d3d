"""What the batches of an epoch say of the domains: losses of both views, λ, SC-MIM."""

import keras
import tensorflow as tf


class DomainTracker(keras.metrics.Metric):
    """Sums over an epoch of what each batch says about the domains.

    λ of a single step follows the noise of one batch, so the mean is what is reported.
    """

    def __init__(self, num_domains, name="domains", **kwargs):
        super().__init__(name=name, **kwargs)
        self.sums = self.add_variable((7, num_domains), initializer="zeros", name="sums")

    def update_state(self, losses):
        """Adds a batch."""
        one = tf.ones_like(losses.relative)
        of_targets = [losses.domain_single, losses.domain_cross, losses.domain_targets]
        of_users = [losses.domain_mim, losses.domain_users]
        self.sums.assign_add(tf.stack([*of_targets, losses.relative, one, *of_users]))

    def result(self):
        """`domain_means` of the epoch so far."""
        return domain_means(tf.convert_to_tensor(self.sums))


def domain_means(sums):
    """Mean single loss, cross loss, λ and SC-MIM loss; 0 for a domain never seen.

    Args:
        sums: `[7, domains]` of `DomainTracker`.

    Returns:
        `[4, domains]`.
    """
    single, cross, targets, relative, steps, mim, users = tf.unstack(sums)
    return tf.math.divide_no_nan(
        tf.stack([single, cross, relative, mim]), tf.stack([targets, targets, steps, users])
    )
