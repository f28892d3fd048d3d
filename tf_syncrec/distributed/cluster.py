"""Which machines train together: `--workers`, or `TF_CONFIG`."""

import json
import os
from dataclasses import dataclass
from typing import Any

from data_prep import InputError

PATIENCE = 600.0
"""Seconds that a worker waits for the others to start."""


@dataclass(frozen=True)
class Cluster:
    """The processes of one training, and which of them this is.

    Attributes:
        addresses: `host:port` of each, the chief first.
        index: of this one.
        source: what said so, for messages.
    """

    addresses: tuple[str, ...]
    index: int
    source: str = "--workers"

    def name(self, index: int) -> str:
        """What messages call a worker."""
        return f"worker {index} ({self.addresses[index]})"


def cluster_of(workers: str | None, index: int | None, strategy: str) -> Cluster | None:
    """The cluster that options, or else `TF_CONFIG`, describe; None where this process is alone.

    Args:
        workers: `host:port,host:port,...`, of `--workers`.
        index: of `--worker_index`.
        strategy: of `--strategy`; one that is not for several workers does not look at `TF_CONFIG`.

    Raises:
        InputError: they contradict each other, or make no sense.
    """
    several = strategy in ("auto", "multi_worker")
    if workers is None and index is not None:
        raise InputError(f"--worker_index {index}: needs --workers host:port,host:port,...")
    if workers is not None:
        if not several:
            raise InputError(f"--workers: not with --strategy {strategy}; choose multi_worker")
        if index is None:
            raise InputError("--workers: say which of them this is, as --worker_index 0, 1, ...")
        return _checked(workers.split(","), index, "--workers", "--worker_index")
    if several and os.environ.get("TF_CONFIG"):
        return _from_tf_config(os.environ["TF_CONFIG"])
    if strategy == "multi_worker":
        raise InputError(
            "--strategy multi_worker: say which workers there are, by TF_CONFIG or by --workers "
            "host:port,host:port,... --worker_index 0, 1, ..."
        )
    return None


def _from_tf_config(text: str) -> Cluster | None:
    """`TF_CONFIG` as TensorFlow documents it: the chief, if it is listed apart, is worker 0."""
    try:
        value = json.loads(text)
        jobs = value.get("cluster") or {}
        addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        unknown = sorted(set(jobs) - {"chief", "worker"})
        if not jobs:
            return None
        task = value["task"]
        kind, index = task["type"], int(task["index"])
        ahead = len(jobs.get("chief", [])) if kind == "worker" else 0
        own = len(jobs[kind])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "TF_CONFIG: must be as in {'cluster': {'worker': ['host:port', ...]}, "
            f"'task': {{'type': 'worker', 'index': 0}}}}, in JSON; received {text!r} "
            f"({type(error).__name__}: {error})"
        ) from None
    if unknown or kind not in ("chief", "worker"):
        raise InputError(
            f"TF_CONFIG: only chief and worker train together, received {unknown or kind!r}; there "
            "is no parameter server and no evaluator"
        )
    if not 0 <= index < own:
        raise InputError(f"TF_CONFIG: task index {index} is not one of {own} of type {kind!r}")
    return _checked(addresses, ahead + index, "TF_CONFIG", "TF_CONFIG: task index")


def _checked(addresses: list[Any], index: int, source: str, index_source: str) -> Cluster:
    for address in addresses:
        host, colon, port = str(address).rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
            raise InputError(f"{source}: received {address!r}, a worker is host:port")
    twice = [address for address in addresses if addresses.count(address) > 1]
    if twice:
        raise InputError(f"{source}: {twice[0]} stands there twice")
    if not 0 <= index < len(addresses):
        raise InputError(
            f"{index_source} {index}: {source} lists {len(addresses)} workers, counted from 0"
        )
    return Cluster(tuple(addresses), index, source)
