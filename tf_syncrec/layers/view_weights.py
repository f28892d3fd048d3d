"""How much each of the two views counts in a prediction."""

import keras
import tensorflow as tf


class ViewWeights(keras.layers.Layer):
    """Weights of the single and the cross view's scores, by the domain to predict in.

    `score = w_d single + (2 - w_d) cross`: a domain that the others mislead can rely on its own
    view, one that has little of its own on the cross view. Until `blending.fit_view_weights` sets
    them after training, w is 1 and the score the plain sum. They have no gradient.

    Args:
        num_domains: |D|.
    """

    def __init__(self, num_domains, **kwargs):
        super().__init__(**kwargs)
        self.num_domains = num_domains

    def build(self, input_shape=None):
        """Creates w, `[domains]`."""
        self.single = self.add_weight(
            shape=(self.num_domains,), initializer="ones", trainable=False, name="single"
        )
        self.built = True

    def call(self, domains):
        """Weights in some domains.

        Args:
            domains: int32 of any shape.

        Returns:
            w and 2 - w, each of that shape, float32.
        """
        single = tf.gather(tf.cast(tf.convert_to_tensor(self.single), tf.float32), domains)
        return single, 2.0 - single

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"num_domains": self.num_domains}
