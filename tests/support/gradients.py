"""Gradients of a model, compared."""

import numpy as np
import tensorflow as tf


def assert_same_gradients(model, expected, received):
    """Of all trainable weights; one that has none has zeros."""
    for weight, a, b in zip(model.trainable_weights, expected, received, strict=True):
        a, b = (np.zeros(weight.shape) if g is None else tf.convert_to_tensor(g) for g in (a, b))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5, err_msg=weight.path)
