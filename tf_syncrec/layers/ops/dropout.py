"""Dropout that draws one byte an element."""

import keras
import tensorflow as tf

_LEVELS = 256


class Dropout(keras.layers.Layer):
    """Inverted dropout whose rate is a multiple of 1/256.

    Random numbers are a sizeable part of a training step on a CPU. A keep-or-drop decision does not
    need the 32 bits of a uniform float: a byte costs a third of the time (`benchmarks/dropout.py`).
    The rate is rounded to 1/256 and the scale is that of the rounded rate, so that expectations
    are exact.

    Args:
        rate: share of the elements set to 0, in [0, 1).
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1). Received: {rate!r}")
        self.rate = rate
        self.dropped_levels = min(round(rate * _LEVELS), _LEVELS - 1)
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def scale(self, training=None) -> float:
        """What kept elements are multiplied by."""
        return _LEVELS / (_LEVELS - self.dropped_levels) if training else 1.0

    def zeroed(self, inputs, training=None):
        """Drops elements when training and leaves the others as they are.

        For those who can multiply something smaller by `scale`, e.g. the weights before.
        """
        if not training or not self.dropped_levels:
            return inputs
        return inputs * self._kept(inputs)

    def call(self, inputs, training=None):
        """Drops elements of a tensor of any shape, when training."""
        if not training or not self.dropped_levels:
            return inputs
        return inputs * (self._kept(inputs) * self.scale(training))

    def _kept(self, inputs):
        """1 or 0 for each element."""
        size = tf.size(inputs)
        words = tf.random.stateless_uniform(
            [(size + 3) // 4], self.seed_generator.next(), None, None, tf.int32
        )
        levels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size]
        return tf.reshape(tf.cast(levels >= self.dropped_levels, inputs.dtype), tf.shape(inputs))

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"rate": self.rate}
