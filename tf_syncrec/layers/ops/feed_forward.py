"""The point-wise feed-forward network of Eq. 7, in as few passes over memory as it takes.

On a CPU the elementwise operations of a training step cost as much as its matrix products, since
each of them reads and writes all activations. So whatever can be multiplied into a weight is.
"""

import math

import tensorflow as tf


@tf.custom_gradient
def _times_erfc(h):
    """`h * erfc(h)`, any shape; the derived gradient would make twice the passes."""
    complement = tf.math.erfc(h)

    def gradient(upstream):
        # d/dh = erfc(h) - 2 / sqrt(pi) h exp(-h^2)
        density = tf.exp(math.log(2.0 / math.sqrt(math.pi)) - tf.square(h))
        return upstream * (complement - h * density)

    return h * complement, gradient


def feed_forward(x, w1, b1, w2, b2):
    """`GELU(x W1 + b1) W2 + b2` with the exact GELU, z Φ(z) (paper Eq. 7).

    With `c = -1/sqrt(2)` and `h = c z`, `GELU(z) = c h erfc(h)`: both factors c go into the
    weights, which are few beside the activations.

    Args:
        x: `[..., rows, in]`.
        w1: `[..., in, inner]`.
        b1: `[..., 1, inner]`.
        w2: `[..., inner, out]`.
        b2: `[..., 1, out]`.

    Returns:
        `[..., rows, out]`.
    """
    c = -math.sqrt(0.5)
    return tf.matmul(_times_erfc(tf.matmul(x, c * w1) + c * b1), c * w2) + b2
