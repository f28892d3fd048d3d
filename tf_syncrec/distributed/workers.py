"""What the workers of a training tell each other; with one worker, all of it is free.

All workers must call each of these functions, and in the same order.
"""

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_prep import InputError
from tf_syncrec.distributed.cluster import PATIENCE, Cluster
from tf_syncrec.distributed.rendezvous import meet
from tf_syncrec.utils.stopping import Stopped
from tf_syncrec.utils.variables import in_place, pieces, put

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def join(
    cluster: Cluster, report: Callable[[str], None], patience: float = PATIENCE
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for the other workers and connects; before TensorFlow has done anything else.

    Args:
        cluster: at least two workers.
        report: told about the waiting.
        patience: seconds to wait, once for the others to answer and once for TensorFlow.

    Raises:
        InputError: the cluster is wrong, as far as the others can tell.
        Stopped: a worker did not answer in time.
    """
    meet(cluster, patience, report)

    def give_up():
        # TensorFlow waits for an hour, where no exception can reach it.
        print(
            f"error: {cluster.name(cluster.index)} reached all others, but one was lost within "
            f"{patience:.0f} s; start all of them again",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(patience, give_up)
    timer.daemon = True
    timer.start()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(
            cluster_resolver=tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
                task_type="worker",
                task_id=cluster.index,
                num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
                rpc_layer="grpc",
            )
        )
    finally:
        timer.cancel()


def several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether more than one process trains."""
    return worker_of(strategy)[1] > 1


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Index of this worker, and how many there are."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this worker is the one that writes, ranks and prints."""
    return worker_of(strategy)[0] == 0


def sum_over_workers(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Sum of an array of numbers, of the same shape and type on every worker."""
    if not several_workers(strategy):
        return values
    # float32 is what every kind of device can add up; others are added by the hosts.
    return strategy.reduce(tf.distribute.ReduceOp.SUM, tf.convert_to_tensor(values), None).numpy()


def from_chief(strategy: tf.distribute.Strategy, value: Any = None) -> Any:
    """What the chief has, as JSON; what others pass is not looked at.

    Args:
        strategy: of the training.
        value: of the chief; None makes all wait for each other and nothing more.
    """
    if not several_workers(strategy):
        return value
    content = np.zeros(0, np.float32)
    if is_chief(strategy):
        content = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.float32)
    length = int(sum_over_workers(strategy, np.array([len(content)], np.float32))[0])
    own = content if is_chief(strategy) else np.zeros(length, np.float32)
    return json.loads(sum_over_workers(strategy, own).astype(np.uint8).tobytes())


def take_from_chief(strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable]) -> None:
    """Gives variables the values that they have on the chief."""
    if not several_workers(strategy):
        return
    for variable in variables:
        for piece in pieces(variable):
            value = in_place(variable)[piece].numpy()
            kind = value.dtype if value.dtype == np.float32 else np.dtype(np.float64)  # to 2^53
            own = value.astype(kind) if is_chief(strategy) else np.zeros(value.shape, kind)
            put(variable, piece, sum_over_workers(strategy, own).astype(value.dtype))


@contextlib.contextmanager
def chief_first(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Others do what is inside after the chief, so that they find what it has made."""
    if not is_chief(strategy):
        from_chief(strategy)
    yield
    if is_chief(strategy):
        from_chief(strategy)


def agree(strategy: tf.distribute.Strategy, own: dict[str, Any]) -> None:
    """Ends all workers where one has other settings than the chief.

    Args:
        strategy: of the training.
        own: settings, as JSON.

    Raises:
        InputError: on a worker that differs; names the settings.
        Stopped: on the others; names that worker.
    """
    if not several_workers(strategy):
        return
    own = json.loads(json.dumps(own))
    index, count = worker_of(strategy)
    chief = from_chief(strategy, own)
    differ = [name for name in {**chief, **own} if chief.get(name) != own.get(name)]
    flags = sum_over_workers(strategy, np.eye(count, dtype=np.float32)[index] * bool(differ))
    if differ:
        told = ", ".join(
            f"{name} = {own.get(name)!r}, there {chief.get(name)!r}" for name in differ[:5]
        )
        raise InputError(f"worker {index} was started with other settings than worker 0: {told}")
    if flags.any():
        others = ", ".join(map(str, np.flatnonzero(flags)))
        raise Stopped(
            f"worker {others} has other settings than worker 0; its own message says which"
        )


@contextlib.contextmanager
def reraise_lost_workers(cluster: Cluster | None, resume_hint: Callable[[], str]) -> Iterator[None]:
    """Turns what TensorFlow raises when a worker is gone into one message.

    Raises:
        Stopped: a worker is gone.
    """
    try:
        yield
    except _LOST as error:
        text = " ".join(str(error.message or error).split())
        if cluster is None or not re.search(r"ollective|oordination|/job:worker", text):
            raise
        lost = {int(i) for i in re.findall(r"/task:(\d+)", text)} - {cluster.index}
        names = ", ".join(cluster.name(i) for i in sorted(lost) if i < len(cluster.addresses))
        # The first sentence that is about what happened, and not about where in the graph.
        reason = re.split(r"aborted by: ", text)[-1]
        reason = re.split(r" (?=Additional GRPC|The error could|The tasks have|\[)", reason)[0]
        raise Stopped(
            f"{names or 'another worker'} was lost ({reason[:200]}); see its own last line; "
            + resume_hint()
        ) from error
