"""Our layer normalisation against Keras's, whose gradient TensorFlow derives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers.ops.layer_norm import EPSILON, layer_norm


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_values_and_gradients_are_those_of_keras(scale):
    rng = np.random.default_rng(0)
    x = tf.Variable(scale * rng.normal(0.3, 1, (2, 5, 8)).astype(np.float32))
    x[1, 2].assign(tf.fill([8], 4.0))  # without any variance
    weights = [tf.Variable(rng.normal(1, 0.5, 8).astype(np.float32)) for _ in range(2)]
    upstream = tf.constant(rng.normal(size=(2, 5, 8)).astype(np.float32))
    keras_layer = keras.layers.LayerNormalization(epsilon=EPSILON)
    keras_layer.build(x.shape)
    keras_layer.set_weights([weight.numpy() for weight in weights])

    with tf.GradientTape(persistent=True) as tape:
        ours = layer_norm(x, *weights)
        theirs = keras_layer(tf.convert_to_tensor(x))
        losses = [tf.reduce_sum(y * upstream) for y in (ours, theirs)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    twins = [x, *(weight.value for weight in keras_layer.trainable_weights)]
    for mine, twin in zip([x, *weights], twins, strict=True):
        expected = tape.gradient(losses[1], twin)
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            tape.gradient(losses[0], mine), expected, rtol=1e-4, atol=1e-5 * size
        )
