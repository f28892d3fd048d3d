"""A small network for each domain."""

import keras
import tensorflow as tf

from tf_syncrec.layers.experts import StackedGlorotUniform


class DomainMLP(keras.layers.Layer):
    """`ReLU(x W_1 + b_1) W_2 + b_2`, with weights of each domain.

    Args:
        num_domains: |D|.
        width: of the input.
        inner: of what lies between.
        dim: r, of the output.
    """

    def __init__(self, num_domains, width, inner, dim, **kwargs):
        super().__init__(**kwargs)
        self.num_domains, self.width, self.inner, self.dim = num_domains, width, inner, dim

    def build(self, input_shape=None):
        """Creates the weights, with a leading axis of domains."""
        count, stacked = self.num_domains, StackedGlorotUniform()

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

    def call(self, x):
        """What each domain makes of the same rows: `[rows, width]` -> `[rows, domains, dim]`."""
        w1, b1, w2, b2 = self._weights_as(x.dtype)
        inner = tf.nn.relu(tf.matmul(x[None], w1) + b1)
        return tf.transpose(tf.matmul(inner, w2) + b2, [1, 0, 2])

    def of_own_domain(self, x, domains):
        """What its own domain makes of each row.

        Args:
            x: `[rows, width]`.
            domains: `[rows]` int32.

        Returns:
            `[rows, dim]`.
        """
        weights = [tf.unstack(weight) for weight in self._weights_as(x.dtype)]
        parts = tf.dynamic_partition(x, domains, self.num_domains)
        made = [
            tf.matmul(tf.nn.relu(tf.matmul(part, w1) + b1), w2) + b2
            for part, w1, b1, w2, b2 in zip(parts, *weights, strict=True)
        ]
        places = tf.dynamic_partition(tf.range(tf.size(domains)), domains, self.num_domains)
        return tf.ensure_shape(tf.dynamic_stitch(places, made), [None, self.dim])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_domains, self.dim)

    def get_config(self):
        """Constructor arguments."""
        names = ("num_domains", "width", "inner", "dim")
        return super().get_config() | {name: getattr(self, name) for name in names}
