"""How much each of two views counts in the score, by domain."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_syncrec")
class ViewWeights(keras.layers.Layer):
    """Weights of the single and the cross view's scores, by the domain to predict in.

    `score = w_d single + (2 - w_d) cross`: a domain that the others mislead can rely on its own
    view, one that has little of its own on the cross view. Until they are fitted after training, w
    is 1 and the score the plain sum. They have no gradient.

    Args:
        num_domains: |D|.

    ```python
    of_single, of_cross = ViewWeights(3)(tf.constant([[0, 2]]))  # each (1, 2), of 1
    ```
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

    def reset(self):
        """Both count alike, as before w is fitted."""
        self.single.assign(tf.ones_like(self.single))

    def call(self, domains):
        """Weights in some domains.

        Args:
            domains: int32 of any shape.

        Returns:
            w and 2 - w, each of that shape, float32.
        """
        single = tf.gather(tf.cast(self.single.value, tf.float32), domains)
        return single, 2.0 - single

    def compute_output_shape(self, input_shape):
        return input_shape, input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"num_domains": self.num_domains}
