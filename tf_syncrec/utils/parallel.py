"""The same work on many pieces, several at a time."""

import collections
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
    if said := int(os.environ.get("TF_NUM_INTEROP_THREADS") or 0):
        return said
    if hasattr(os, "sched_getaffinity"):  # less than the machine has, perhaps
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
