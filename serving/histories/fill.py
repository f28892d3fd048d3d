"""Puts all of a log into a store, some users at a time, and goes on where it was stopped."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from serving.histories.store import Histories
from tf_syncrec.utils.terminal import Pace

EVENTS_AT_ONCE = 5_000
"""Recorded together: a store does little else meanwhile, for hundredths of a second."""


def fill(histories: Histories, file: Path, name: str, report: Callable[[str], None] = print) -> int:
    """Records the last events of every user of a file.

    How far it has come is noted in the store itself, after what was recorded: a store that has lost
    its events has lost that as well. What is recorded twice after a kill is there once.

    Args:
        histories: where to.
        file: of `data_prep.log_histories.write_histories`, always with its users in one order.
        name: of what is in the file; the same for the same users and events, and only for those.
        report: told one line now and then.

    Returns:
        The number of rows of the file, one a user where it is of a log.

    Raises:
        StoreError: the store does not answer; the same call goes on.
    """
    with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as reader:
        numbers = range(reader.num_record_batches)
        total = sum(reader.get_batch(number).num_rows for number in numbers)
        done = histories.mark(name)
        if done:
            report(f"{done:,} of {total:,} histories were filled in before.")
        first, pace = 0, Pace(total, done, "histories", report, "events")
        for number in numbers:
            batch = reader.get_batch(number)
            behind = batch.slice(max(done - first, 0))
            first += batch.num_rows
            for rows, recorded in _chunks(behind, histories.keep):
                histories.record_many(recorded)
                done += rows
                histories.set_mark(name, done)
                pace.add(rows, len(recorded))
        histories.set_mark(name, 0)
    return total


def _chunks(batch: pa.RecordBatch, keep: int):
    """`(number of users, their last events)`, some at a time."""
    waiting: list[tuple[str, str, float]] = []
    users = 0
    columns = (batch[name].to_pylist() for name in ("user_id", "items", "timestamps"))
    for user, items, times in zip(*columns, strict=True):
        # More than are kept need not be sent. They are in order, as the store has it.
        waiting += zip(itertools.repeat(user), items[-keep:], times[-keep:], strict=False)
        users += 1
        if len(waiting) >= EVENTS_AT_ONCE:
            yield users, waiting
            waiting, users = [], 0
    if users:
        yield users, waiting
