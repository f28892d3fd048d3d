"""Dropout that draws one byte an element."""

import keras
import tensorflow as tf

_LEVELS = 256


@keras.saving.register_keras_serializable("tf_syncrec")
class Dropout(keras.layers.Layer):
    """Inverted dropout whose rate is a multiple of 1/256.

    Random numbers are a sizeable part of a training step on a CPU, and a keep-or-drop decision does
    not need the 32 bits of a uniform float: with Keras's dropout a step takes a fifth longer
    (`benchmarks/dropout.py`). The rate is rounded to 1/256 and the scale is that of the rounded
    rate, so that expectations are exact.

    Args:
        rate: share of the elements set to 0, in [0, 1).

    ```python
    dropout = Dropout(0.25)
    dropped = dropout(tf.ones([2, 3]), training=True)  # (2, 3), of 0 and 4/3
    ```
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1). Received: {rate!r}")
        self.rate = rate
        self.dropped_levels = min(round(rate * _LEVELS), _LEVELS - 1)
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, inputs, training=None):
        """Drops elements of a tensor of any shape, when training."""
        if not training or not self.dropped_levels:
            return inputs
        size = tf.size(inputs)
        words = tf.random.stateless_uniform(
            [(size + 3) // 4], self.seed_generator.next(), None, None, tf.int32
        )
        levels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size]
        # Not `tf.where`, which is slower than both passes.
        kept = tf.cast(levels >= self.dropped_levels, inputs.dtype)
        scale = _LEVELS / (_LEVELS - self.dropped_levels)
        return inputs * tf.reshape(kept * scale, tf.shape(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"rate": self.rate}
