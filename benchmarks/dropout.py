"""What drawing a byte an element saves of the default model's training step.

    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 python -m benchmarks.dropout [--rounds 15]

Two models of configs/amazon.yaml, with our dropout and with Keras's, take turns in one process. CPU
time is compared: others may use the machine.
"""

import argparse
import contextlib
import time
from unittest import mock

import tf_syncrec  # noqa: F401  # isort: skip  (first: it hides the noise of TensorFlow)
import keras
import numpy as np
import tensorflow as tf

from benchmarks.workload import RandomSequences
from tf_syncrec.config import load, shipped
from tf_syncrec.data.batches import train_batches
from tf_syncrec.layers import Dropout
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.optimizers import optimizer_of

SIZES = [2500] * 6


def drawn_by_keras(layer, inputs, training=None):
    """In place of `Dropout.call`."""
    if not training or not layer.rate:
        return inputs
    return keras.random.dropout(inputs, layer.rate, seed=layer.seed_generator)


def step_of(replaced, batch):
    """A training step, traced and warm, which gives its CPU milliseconds."""
    keras.utils.set_random_seed(0)
    config = load(shipped("amazon"))
    config.model.neighbours = 0
    model = SyNCRec.from_settings(config, SIZES)
    model.compile(optimizer_of(config.train.optimizer, 1e-3))
    step = tf.function(model.train_step)
    with replaced:
        step(batch)
    step(batch)

    def timed():
        start = time.process_time()
        float(step(batch)["loss"])
        return 1e3 * (time.process_time() - start)

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--length", type=int, default=50, help="interactions of a user")
    parser.add_argument("--varied", action="store_true", help="lengths differ, with that mean")
    options = parser.parse_args()
    users = RandomSequences(options.batch_size, options.length, SIZES, options.varied)
    batch = next(iter(train_batches(users, 50, options.batch_size, 0).epoch(0)))
    ours = step_of(contextlib.nullcontext(), batch)
    theirs = step_of(mock.patch.object(Dropout, "call", drawn_by_keras), batch)
    pairs = np.array([(ours(), theirs()) for _ in range(options.rounds)])
    low, ratio, high = np.percentile(pairs[:, 1] / pairs[:, 0], [25, 50, 75])
    print(
        "CPU ms a step: ours {:.1f}, Keras's {:.1f}; ".format(*np.median(pairs, axis=0))
        + f"ratio, median and quartiles: {ratio:.3f} [{low:.3f}, {high:.3f}]"
    )


if __name__ == "__main__":
    main()
