"""Time of our byte-wise dropout beside Keras's, forward and backward, on attention weights.

python -m benchmarks.dropout
"""

import time

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers import Dropout

SHAPE = (5, 128, 1, 50, 50)
REPETITIONS = 30


def seconds(layer, x):
    """Median seconds of a forward and a backward pass."""

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, x)

    step(x)
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        step(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    x = tf.random.normal(SHAPE)
    keras_time = seconds(keras.layers.Dropout(0.2), x)
    own_time = seconds(Dropout(0.2), x)
    print(
        f"dropout of {SHAPE}, ms: keras {1e3 * keras_time:.2f}, ours {1e3 * own_time:.2f}; "
        f"ratio {keras_time / own_time:.2f}"
    )


if __name__ == "__main__":
    main()
