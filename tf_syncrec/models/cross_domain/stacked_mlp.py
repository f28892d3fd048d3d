"""A small network for each domain, or for each of something else."""

import keras
import tensorflow as tf

from tf_syncrec.layers.experts import StackedGlorotUniform


class StackedMLP(keras.layers.Layer):
    """`f(x W_1 + b_1) W_2 + b_2` with f a (leaky) ReLU, and weights for each of a stack.

    Args:
        count: how many there are, such as |D|.
        width: of the input.
        inner: of what lies between.
        dim: r, of the output.
        slope: of f below 0.
    """

    def __init__(self, count, width, inner, dim, slope=0.0, **kwargs):
        super().__init__(**kwargs)
        self.count, self.width, self.inner, self.dim = count, width, inner, dim
        self.slope = slope

    def build(self, input_shape=None):
        """Creates the weights, with a leading axis of the stack."""
        count, stacked = self.count, StackedGlorotUniform()

        def weight(name, *shape, initializer=stacked):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.w1 = weight("w1", count, self.width, self.inner)
        self.b1 = weight("b1", count, 1, self.inner, initializer="zeros")
        self.w2 = weight("w2", count, self.inner, self.dim)
        self.b2 = weight("b2", count, 1, self.dim, initializer="zeros")
        self.built = True

    def _weights_as(self, dtype):
        # By hand, since Keras casts them in `call` alone.
        weights = (self.w1, self.b1, self.w2, self.b2)
        return [tf.cast(tf.convert_to_tensor(weight), dtype) for weight in weights]

    def _made(self, x, w1, b1, w2, b2):
        return tf.matmul(tf.nn.leaky_relu(tf.matmul(x, w1) + b1, self.slope), w2) + b2

    def call(self, x, which=None):
        """What each of the stack makes of its rows.

        Args:
            x: `[n, rows, width]`; one of 1 is for all.
            which: `[n]` int32, whose rows they are; None: one after the other, all of the stack.

        Returns:
            `[n, rows, dim]`.
        """
        weights = self._weights_as(x.dtype)
        if which is not None:
            weights = [tf.gather(weight, which) for weight in weights]
        return self._made(x, *weights)

    def of_own(self, x, which):
        """What its own of the stack makes of each row.

        Args:
            x: `[rows, width]`.
            which: `[rows]` int32.

        Returns:
            `[rows, dim]`.
        """
        weights = [tf.unstack(weight) for weight in self._weights_as(x.dtype)]
        parts = tf.dynamic_partition(x, which, self.count)
        made = [self._made(*each) for each in zip(parts, *weights, strict=True)]
        places = tf.dynamic_partition(tf.range(tf.size(which)), which, self.count)
        return tf.ensure_shape(tf.dynamic_stitch(places, made), [None, self.dim])

    def get_config(self):
        """Constructor arguments."""
        names = ("count", "width", "inner", "dim", "slope")
        return super().get_config() | {name: getattr(self, name) for name in names}
