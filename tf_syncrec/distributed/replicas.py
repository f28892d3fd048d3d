"""Several devices with one model: which, and what a replica needs to know of the others."""

from collections.abc import Callable

import tensorflow as tf

from data_prep import InputError
from tf_syncrec.distributed.cluster import PATIENCE, Cluster
from tf_syncrec.distributed.workers import join


def strategy_of(
    name: str,
    on_nan: str = "stop",
    cluster: Cluster | None = None,
    report: Callable[[str], None] = print,
    patience: float = PATIENCE,
) -> tf.distribute.Strategy:
    """The strategy to build and train a model under.

    Args:
        name: one of `schema.STRATEGIES`. `auto` is `mirrored` where there are several GPUs, else
            `one_device`; `mirrored` takes all GPUs, or all logical CPUs where there is none.
        on_nan: as in `TrainConfig`.
        cluster: of `cluster_of`; with several workers, they are what trains, with all GPUs of each.
        report: told about waiting for workers.
        patience: seconds to wait for them.

    Raises:
        InputError: these do not go together.
        Stopped: a worker cannot be reached.
    """
    if cluster is not None and len(cluster.addresses) > 1:
        if on_nan == "skip":
            raise InputError(f"--on_nan skip: not with {len(cluster.addresses)} workers")
        return join(cluster, report, patience)
    if name == "multi_worker":
        name = "auto"  # a cluster of one
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    gpus = devices[0].device_type == "GPU"
    if name == "one_device" or (name == "auto" and not (gpus and len(devices) > 1)):
        return tf.distribute.get_strategy()
    if on_nan == "skip" and len(devices) > 1:
        # Replicas cannot meet inside of a condition, and would have to, to add up gradients.
        raise InputError(
            f"--on_nan skip: not with {len(devices)} replicas; choose --strategy one_device"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def shared_out(batches: tf.data.Dataset, strategy: tf.distribute.Strategy):
    """Cuts each batch into as many pieces as there are replicas, for Keras's `fit`.

    TensorFlow's own cut may make fewer pieces than there are replicas, 3 of 5 rows for 4 of them,
    and the last one then trains on a piece of the next batch, whose segments have the same numbers.

    Args:
        batches: of dictionaries of tensors with as many rows each.
        strategy: of the model.

    Returns:
        `batches` itself for one replica. Else what gives each replica its rows, in their order, and
        none to some where there are too few; after the last batch it goes on with no rows at all,
        so say `steps_per_epoch`.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches

    def cut(batch, replicas_here):
        rows = tf.shape(next(iter(batch.values())))[0]
        ends = rows * tf.range(replicas + 1) // replicas
        return tf.data.Dataset.range(*replicas_here).map(
            lambda i: {name: rows[ends[i] : ends[i + 1]] for name, rows in batch.items()}
        )

    nothing = {
        name: tf.zeros([0, *(size or 0 for size in spec.shape[1:])], spec.dtype)
        for name, spec in batches.element_spec.items()
    }

    def pieces(context):
        """Those of the replicas of one worker; each worker reads all, in the same order."""
        here = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * here
        own = batches.flat_map(lambda batch: cut(batch, (first, first + here)))
        # Without an end, as iterators over replicas with one put each step into a condition.
        return own.concatenate(tf.data.Dataset.from_tensors(nothing).repeat())

    return strategy.distribute_datasets_from_function(pieces)


def over_replicas(x):
    """Sum over the replicas of a distribution strategy; `x` itself where there is one."""
    replica = _one_of_several()
    return x if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, x)


def gather_replicas(*tensors):
    """Tensors of all replicas, one after the other along the first axis; gradients flow back.

    Args:
        tensors: of the same length along the first axis, which replicas may differ in.

    Returns:
        The gathered tensors, and where the rows of this replica begin in them, an int32 scalar.
    """
    replica = _one_of_several()
    if replica is None:
        return *tensors, tf.constant(0)
    # Each adds its rows to zeros.
    length, number = tf.shape(tensors[0])[0], replica.replica_id_in_sync_group
    own = tf.one_hot(number, replica.num_replicas_in_sync) * tf.cast(length, tf.float32)
    lengths = tf.cast(over_replicas(own), tf.int32)
    first = tf.reduce_sum(lengths[:number])
    around = [[first, tf.reduce_sum(lengths) - first - length]]
    padded = (tf.pad(tensor, around + [[0, 0]] * (len(tensor.shape) - 1)) for tensor in tensors)
    return *(over_replicas(tensor) for tensor in padded), first


def _one_of_several():
    """The replica that this code runs on; None where it is the only one."""
    replica = tf.distribute.get_replica_context()
    return None if replica is None or replica.num_replicas_in_sync == 1 else replica
