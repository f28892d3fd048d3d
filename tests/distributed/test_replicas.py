"""Training on several devices is the training on one: losses, λ and weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from data_prep import InputError
from tests.support.processes import free_addresses, last_lines
from tf_syncrec.distributed.replicas import gather_replicas, over_replicas, shared_out, strategy_of

EQUIVALENCE = """
import json
import sys

import keras
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
if sys.argv[1] == "mirrored":
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tf_syncrec.distributed.cluster import cluster_of
from tf_syncrec.distributed.replicas import shared_out, strategy_of

name, *cluster = sys.argv[1:]
cluster = cluster_of(cluster[0], int(cluster[1]), name) if cluster else None
strategy = strategy_of(name, cluster=cluster)

from tests.support.killed import ring, settings
from tf_syncrec.data.batches import train_batches
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.optimizers import optimizer_of

config = settings(learning_rate=0.01)
config.model.dropout = 0.0
prepared = ring()
batches = train_batches(prepared, config.model.window, 5, 0)
with strategy.scope():
    keras.utils.set_random_seed(0)
    model = SyNCRec.from_settings(config, prepared.catalogue.sizes)
    optimizer = optimizer_of(config.train.optimizer, config.train.learning_rate)
    optimizer.epsilon = 1e-3
    model.compile(optimizer)
losses, lambdas = [], []


def note(batch, logs):
    losses.append(float(logs["loss"]))
    copies = strategy.experimental_local_results(model.negative_transfer.relative.value)
    lambdas.append([copy.numpy().tolist() for copy in copies])


for epoch in range(5):
    model.fit(
        shared_out(batches.epoch(epoch), strategy),
        steps_per_epoch=batches.steps,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
    )
print(json.dumps({
    "replicas": strategy.num_replicas_in_sync,
    "rows_of_last_batch": list(batches.epoch(0))[-1]["items"].shape[0],
    "losses": losses,
    "lambdas": lambdas,
    "weights": {weight.path: weight.numpy().tolist() for weight in model.trainable_weights},
}))
"""


@pytest.fixture(scope="module")
def equivalence():
    """`{kind: what each of its processes found}`: one device, two of them, two workers.

    The ε of Adam is above rounding: with 1e-7, a gradient that is 0 but for rounding moves weights.
    """
    workers = ",".join(free_addresses(2))
    alone, mirrored, *several = last_lines(
        EQUIVALENCE,
        ["one_device"],
        ["mirrored"],
        *(["multi_worker", workers, index] for index in "01"),
    )
    return {"alone": [alone], "mirrored": [mirrored], "workers": several}


KINDS = pytest.mark.parametrize("kind", ["mirrored", "workers"])


@pytest.mark.slow
@KINDS
def test_two_replicas_train_as_one_device_does(equivalence, kind):
    """All losses, SC-MIM as well; dropout off, packed rows, 60 steps in 5 epochs."""
    (alone,) = equivalence["alone"]
    losses = np.array(alone["losses"])
    assert len(losses) >= 50 and alone["replicas"] == 1
    assert alone["rows_of_last_batch"] % 2, "no batch is shared out unevenly"
    assert np.ptp(losses) > 0.1, "nothing was learned"
    for found in equivalence[kind]:
        assert found["replicas"] == 2
        worst = np.abs(np.array(found["losses"]) / losses - 1).max()
        print(f"{kind}: losses {worst:.1e}")
        assert worst < 1e-4
        for name, weight in alone["weights"].items():
            difference = np.abs(np.subtract(weight, found["weights"][name])).max()
            print(f"{kind}: {name} {difference:.1e}")
            assert difference < 1e-3, name


@pytest.mark.slow
@KINDS
def test_every_replica_has_the_lambda_of_one_device(equivalence, kind):
    alone = np.array(equivalence["alone"][0]["lambdas"])
    replicas = np.concatenate([found["lambdas"] for found in equivalence[kind]], axis=1)
    assert replicas.shape[1] == 2
    np.testing.assert_array_equal(replicas[:, 0], replicas[:, 1])
    np.testing.assert_allclose(replicas[:, :1], alone, atol=1e-3)


@pytest.mark.slow
def test_workers_have_the_same_weights_to_the_bit(equivalence):
    first, second = equivalence["workers"]
    assert first["weights"] == second["weights"] and first["losses"] == second["losses"]


@pytest.mark.parametrize("workers, here", [(1, 3), (2, 2), (3, 1), (5, 1)])
def test_a_batch_is_shared_out_once(workers, here):
    """Each row goes to one replica of one worker, and their order is that of the replicas."""
    rows = np.arange(11)
    batches = tf.data.Dataset.from_tensor_slices({"items": rows}).batch(4)  # 4, 4, 3
    replicas = workers * here
    strategy = SimpleNamespace(
        num_replicas_in_sync=replicas,
        distribute_datasets_from_function=lambda pieces: [
            pieces(tf.distribute.InputContext(workers, worker, replicas))
            for worker in range(workers)
        ],
    )
    own = [
        [piece["items"] for piece in dataset.take(4 * here).as_numpy_iterator()]
        for dataset in shared_out(batches, strategy)
    ]
    for step, expected in enumerate([rows[:4], rows[4:8], rows[8:], []]):
        pieces = [piece for some in own for piece in some[step * here : (step + 1) * here]]
        assert len(pieces) == replicas
        np.testing.assert_array_equal(np.concatenate(pieces), expected)


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
