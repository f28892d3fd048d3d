"""Waits until all machines of a training are there."""

import socket
import threading
import time
from collections.abc import Callable

from data_prep import InputError
from tf_syncrec.distributed.cluster import Cluster
from tf_syncrec.utils.stopping import Stopped

_BETWEEN_LINES = 10.0
_BETWEEN_TRIES = 0.2
_ANSWER_WITHIN = 2.0
_LONGEST = 1 << 20
_ANSWERED = "has not connected back"
_GREETING = "tf_syncrec worker "


def meet(cluster: Cluster, patience: float, report: Callable[[str], None]) -> None:
    """Waits until every worker can be reached by this one.

    TensorFlow waits by itself, but for an hour, silently, and cannot tell a wrong list. So each
    worker first answers on its own port with who it is; TensorFlow then takes over the port.

    Args:
        cluster: at least two workers.
        patience: seconds.
        report: told now and then whom this one waits for.

    Raises:
        InputError: the port is taken, or a worker that answers has another list or index.
        Stopped: a worker did not answer in time.
    """
    missing = {i: "" for i in range(len(cluster.addresses)) if i != cluster.index}
    callers: set[int] = set()
    start = told = time.monotonic()
    with _open(cluster) as listening:
        thread = threading.Thread(target=_answer, args=(listening, cluster, callers), daemon=True)
        thread.start()
        try:
            while True:
                for i in list(missing):
                    if missing[i] != _ANSWERED:  # it may leave as soon as both have called
                        missing[i] = _call(cluster, i) or _ANSWERED
                    if missing[i] == _ANSWERED and i in callers:
                        del missing[i]
                if not missing:
                    return
                waited = time.monotonic() - start
                names = ", ".join(f"{cluster.name(i)}: {why}" for i, why in missing.items())
                if waited > patience:
                    raise Stopped(
                        f"{cluster.name(cluster.index)} did not reach {names}, within "
                        f"{patience:.0f} s; is it started, with the same list and its own index, "
                        "and is its port open?"
                    )
                if time.monotonic() - told >= _BETWEEN_LINES:
                    told = time.monotonic()
                    report(f"Waiting for {names}; {waited:.0f} of {patience:.0f} s.")
                time.sleep(_BETWEEN_TRIES)
        finally:
            # Wakes the thread that waits in `accept`, which would keep the port.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _open(cluster: Cluster) -> socket.socket:
    address = cluster.addresses[cluster.index]
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"{cluster.source}: {cluster.name(cluster.index)} cannot listen on port {port} "
            f"({error.strerror}); is another process started with the same index?"
        ) from None


def _answer(listening: socket.socket, cluster: Cluster, callers: set[int]) -> None:
    """Says who this is to whoever calls, and notes who did, until `listening` is shut down."""
    greeting = _greeting(cluster, cluster.index)
    while True:
        try:
            caller, _ = listening.accept()
        except OSError:
            return
        with caller:
            caller.settimeout(_ANSWER_WITHIN)
            try:
                caller.sendall(greeting.encode())
                received = _line(caller)
            except OSError:
                continue  # gone again; it will call another time
        callers |= {i for i in range(len(cluster.addresses)) if received == _greeting(cluster, i)}


def _line(connection: socket.socket) -> str:
    return connection.makefile("rb").readline(_LONGEST).decode(errors="replace")


def _greeting(cluster: Cluster, index: int) -> str:
    return f"{_GREETING}{index} of {','.join(cluster.addresses)}\n"


def _call(cluster: Cluster, index: int) -> str | None:
    """Why a worker cannot be reached; None if it can."""
    host, _, port = cluster.addresses[index].rpartition(":")
    expected = _greeting(cluster, index)
    address = (host.strip("[]"), int(port))
    try:
        with socket.create_connection(address, timeout=_ANSWER_WITHIN) as called:
            called.sendall(_greeting(cluster, cluster.index).encode())
            try:
                text = _line(called)
            except TimeoutError:
                text = ""
    except OSError as error:
        return error.strerror or str(error)
    # Anything else, silence too, is TensorFlow, in which that worker already waits.
    if text.startswith(_GREETING) and text != expected:
        raise InputError(
            f"{cluster.source}: {cluster.name(index)} answers as {text.strip()[len(_GREETING) :]}, "
            f"but this is {_greeting(cluster, cluster.index).strip()[len(_GREETING) :]}; give all "
            "the same list, and each its own index"
        )
    return None
