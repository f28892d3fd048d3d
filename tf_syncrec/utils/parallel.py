"""The same work on many pieces, several at a time."""

import collections
import contextlib
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST = 8
"""Threads at most: each of them holds what its piece takes."""

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def parallel_map(
    work: Callable[[Piece], Result], pieces: Iterable[Piece]
) -> Generator[Result, None, None]:
    """`map(work, pieces)` in threads, for work in which TensorFlow or numpy let others run.

    One operation seldom keeps several cores busy, several batches do. There are as many threads as
    cores, or as `TF_NUM_INTEROP_THREADS` says.

    Args:
        work: may be called by several threads at once.
        pieces: taken in this thread, no more of them ahead than there are threads.

    Yields:
        Results, in the order of the pieces.
    """
    threads = min(_threads(), MOST)
    if threads == 1:
        yield from map(work, pieces)
        return
    waiting: collections.deque[Future[Result]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _threads() -> int:
    return int(os.environ.get("TF_NUM_INTEROP_THREADS") or 0) or available_cores()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # less than the machine has, perhaps
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_operations_side_by_side() -> None:
    """Has TensorFlow share single operations out to half of the cores; before it computes anything.

    There are as many threads as cores for whole operations, and a step has several that need not
    wait for one another: the two views, forwards and backwards. If each of them is shared out to
    all cores as well, threads wait for threads: on two cores a step of the default takes a third
    longer. What the user has set holds, by `TF_NUM_INTRAOP_THREADS` or `tf.config`, and so does
    what TensorFlow has begun with.
    """
    from tensorflow.config import threading

    if os.environ.get("TF_NUM_INTRAOP_THREADS") or threading.get_intra_op_parallelism_threads():
        return
    with contextlib.suppress(RuntimeError):  # it has computed something
        threading.set_intra_op_parallelism_threads(max(available_cores() // 2, 1))
