"""Training on several devices is the training on one: losses, λ and weights."""

import numpy as np
import pytest
import tensorflow as tf

from data_prep import InputError
from tests.processes import last_line
from tf_syncrec.replicas import gather_replicas, over_replicas, strategy_of

EQUIVALENCE = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tests.killed import ring, settings
from tf_syncrec.data import train_batches
from tf_syncrec.model import SyNCRec
from tf_syncrec.optimizers import optimizer_of
from tf_syncrec.replicas import shared_out, strategy_of

config = settings(learning_rate=0.01)
config.model.dropout = 0.0
prepared = ring()
batches = train_batches(prepared, config.model.window, 5, 0)
last = list(batches.epoch(0))[-1]["items"].shape[0]


def train(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = SyNCRec(config, prepared.catalogue.sizes)
        optimizer = optimizer_of(config.train.optimizer, config.train.learning_rate, model.tables)
        optimizer.epsilon = 1e-3
        model.compile(optimizer)
    steps = []

    def note(batch, logs):
        lambdas = strategy.experimental_local_results(model.negative_transfer.relative.value)
        steps.append([float(logs["loss"]), *(copy.numpy().tolist() for copy in lambdas)])

    for epoch in range(5):
        model.fit(
            shared_out(batches.epoch(epoch), strategy),
            steps_per_epoch=batches.steps,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
        )
    return steps, [(weight.path, weight.numpy()) for weight in model.trainable_weights]


alone, weights = train(strategy_of("auto"))
mirrored, weights_mirrored = train(strategy_of("mirrored"))
losses = np.array([[step[0] for step in steps] for steps in (alone, mirrored)])
print(json.dumps({
    "steps": len(alone),
    "rows_of_last_batch": last,
    "replicas": [len(alone[0]) - 1, len(mirrored[0]) - 1],
    "losses": float(np.abs(losses[1] / losses[0] - 1).max()),
    "moved": float(np.ptp(losses[0])),
    "lambda": max(float(np.abs(np.subtract(a[1], m[1])).max()) for a, m in zip(alone, mirrored)),
    "same_lambda": all(step[1] == step[2] for step in mirrored),
    "weights": {
        name: float(np.abs(weight - other).max())
        for (name, weight), (_, other) in zip(weights, weights_mirrored, strict=True)
    },
}))
"""


@pytest.fixture(scope="module")
def equivalence():
    """One device against two; a process of its own, as TensorFlow fixes devices."""
    return last_line(EQUIVALENCE)


def test_two_replicas_train_as_one_device_does(equivalence):
    """All losses, SC-MIM as well; dropout off, packed rows, 60 steps in 5 epochs.

    The ε of Adam is above rounding: with 1e-7, a gradient that is 0 but for rounding moves weights.
    """
    assert equivalence["steps"] >= 50 and equivalence["replicas"] == [1, 2]
    assert equivalence["rows_of_last_batch"] % 2, "no batch is shared out unevenly"
    assert equivalence["moved"] > 0.1, "nothing was learned"
    assert equivalence["losses"] < 1e-4
    assert max(equivalence["weights"].values()) < 1e-3, equivalence["weights"]


def test_every_replica_has_the_lambda_of_one_device(equivalence):
    assert equivalence["same_lambda"]
    assert equivalence["lambda"] < 1e-3


def test_one_device_is_the_default_where_there_is_one():
    for name in ("auto", "one_device"):
        assert strategy_of(name, "skip").num_replicas_in_sync == 1
    assert not isinstance(strategy_of("auto"), tf.distribute.MirroredStrategy)
    assert isinstance(strategy_of("mirrored", "skip"), tf.distribute.MirroredStrategy)


def test_skipping_is_refused_where_replicas_would_have_to_agree(monkeypatch):
    cpus = tf.config.list_logical_devices("CPU") * 2
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: cpus)
    with pytest.raises(InputError, match="--on_nan skip: not with 2 replicas"):
        strategy_of("mirrored", "skip")


def test_a_lonely_replica_gathers_its_own():
    x, y = tf.constant([[1.0], [2.0]]), tf.constant([3.0, 4.0])
    *gathered, first = gather_replicas(x, y)
    for ours, theirs in zip((x, y), gathered, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first == 0 and over_replicas(x) is x
