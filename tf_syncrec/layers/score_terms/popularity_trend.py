"""What is popular now: a term of the score of every item."""

import keras
import tensorflow as tf

BEHIND = -1e3
"""What an item gains that is to rank behind all others."""


@keras.saving.register_keras_serializable("tf_syncrec")
class PopularityTrend(keras.layers.Layer):
    """What an item's score gains by how popular it has been lately, whoever asks.

    `g(c) = w_d log(p_d(c) / mean of p_d + 1/10)`, with d the domain of c and p the number of its
    training interactions, of which one counts 2^-h, if h half-lives of interactions were later.
    `scoring.trends` fits half-life and w on validation, and stores g; until then it is 0. No
    gradient: a network learns what is popular over all of its training, and not what is now.

    Args:
        num_items: |V|, the number of items over all domains.

    References:
        - [A Pre-trained Sequential Recommendation Framework: Popularity Dynamics for Zero-shot
          Transfer](https://doi.org/10.1145/3640457.3688145)

    ```python
    gains = PopularityTrend(num_items=15)(tf.constant([[3, 12]]))  # (1, 2), of 0
    ```
    """

    def __init__(self, num_items, **kwargs):
        super().__init__(**kwargs)
        self.num_items = num_items

    def build(self, input_shape=None):
        """Creates g, `[items + 1]`."""
        self.gain = self.add_weight(
            shape=(self.num_items + 1,), initializer="zeros", trainable=False, name="gain"
        )
        self.built = True

    def reset(self):
        """Nothing is gained, as before g is fitted."""
        self.gain.assign(tf.zeros_like(self.gain))

    def call(self, items):
        """What the scores of items gain, float32 of the shape of `items`."""
        return tf.gather(self.gain.value, items)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"num_items": self.num_items}
