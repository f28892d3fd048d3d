"""What each user did, oldest first: batches of whole users, in memory and in a file.

Items are codes here, places in the pipeline's list of items, and become ids when it is known which
of them train.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SEPARATOR = pa.scalar(
    b"\x1f", pa.large_binary()
)  # Keeps ("ab", "c") and ("a", "bc") apart in the hash.


@dataclasses.dataclass(frozen=True)
class Histories:
    """Some users, with all of their events.

    Attributes:
      user_ids: `[users]` strings.
      starts: `[users + 1]`, where each user's events start, and their number.
      items: `[events]` int32, codes.
      timestamps: `[events]` float64, or int64 where a float would lose their order; never
        decreasing within a user.
    """

    user_ids: pa.Array
    starts: np.ndarray
    items: np.ndarray
    timestamps: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """`[users]`: the number of events of each."""
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """`[events]`: the place of each event's user."""
        return np.repeat(np.arange(len(self.user_ids)), self.lengths)


def user_ids(batches: Iterable[pa.RecordBatch], path: Path) -> pa.ChunkedArray:
    """Puts the names of all users into a file, and maps that into memory.

    Args:
      batches: rows of `user_id`, ordered by the number of the user.
      path: the file.
    """
    schema = pa.schema({"user_id": pa.string()})
    with pa.ipc.new_file(path, schema) as file:
        for batch in batches:
            file.write_batch(batch.cast(schema))
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()["user_id"]


def whole_users(
    batches: Iterable[pa.RecordBatch], user_ids: pa.ChunkedArray
) -> Iterator[Histories]:
    """Cuts a stream of events between users.

    Args:
      batches: rows of `user` (a number), `item, timestamp`, ordered by user and time.
      user_ids: the users' names by number.

    Yields:
      All users, in the order of the stream; items of one user and one time in any.
    """
    pending: list[pa.RecordBatch] = []  # Of one user, who may go on in the next batch.
    for batch in batches:
        if not batch.num_rows:
            continue
        users = batch["user"].to_numpy()
        last = int(np.searchsorted(users, users[-1]))
        if not pending or users[-1] != pending[0]["user"][0].as_py():
            if pending or last:
                yield _histories([*pending, batch.slice(0, last)], user_ids)
            pending, batch = [], batch.slice(last)
        pending.append(batch)
    if pending:
        yield _histories(pending, user_ids)


def _histories(batches: list[pa.RecordBatch], user_ids: pa.ChunkedArray) -> Histories:
    table = pa.Table.from_batches(batches)
    users = table["user"].to_numpy()
    first = np.flatnonzero(np.diff(users, prepend=-1))
    # Those of a batch are close together; `take` from all would copy all.
    base, end = int(users[0]), int(users[-1]) + 1
    near = user_ids.slice(base, end - base).combine_chunks()
    return Histories(
        user_ids=near.take(pa.array(users[first] - base)),
        starts=np.append(first, len(users)),
        items=table["item"].to_numpy(),
        timestamps=table["timestamp"].to_numpy(),
    )


def settle_ties(histories: Histories, item_ids: pa.Array) -> Histories:
    """Orders events of one user and one time, which no log can order, by a hash.

    An order by item id or domain would let a model read the target off the order; the md5 is of
    user and item, so that no item comes first for everybody.

    Args:
      histories: with ties in any order.
      item_ids: the items' names by code.

    Returns:
      The same events.
    """
    owners, times = histories.owners, histories.timestamps
    with_next = (owners[1:] == owners[:-1]) & (times[1:] == times[:-1])
    with_last = np.append(False, with_next)
    tied = np.flatnonzero(with_last | np.append(with_next, False))
    if not tied.size:
        return histories
    tie = np.cumsum(~with_last)[tied]
    items = histories.items.copy()
    users = histories.user_ids.take(pa.array(owners[tied])).cast(pa.large_binary())
    names = item_ids.take(pa.array(items[tied])).cast(pa.large_binary())
    keys = pc.binary_join_element_wise(users, names, _SEPARATOR)
    digests = b"".join([hashlib.md5(key).digest() for key in keys.to_pylist()])
    high, low = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2).T
    items[tied] = items[tied[np.lexsort((items[tied], low, high, tie))]]
    return dataclasses.replace(histories, items=items)


def write(batches: Iterable[Histories], path: Path, time: pa.DataType) -> None:
    """Writes histories to a file.

    Args:
      batches: whole users.
      path: the file.
      time: the type of timestamps.
    """
    lists = {"items": pa.list_(pa.int32()), "timestamps": pa.list_(time)}
    schema = pa.schema({"user_id": pa.string()} | lists)
    with pa.ipc.new_file(path, schema) as file:
        for some in batches:
            starts = pa.array(some.starts, pa.int32())
            columns = [
                some.user_ids,
                pa.ListArray.from_arrays(starts, pa.array(some.items, pa.int32())),
                pa.ListArray.from_arrays(starts, pa.array(some.timestamps, time)),
            ]
            file.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def read(path: Path) -> Iterator[Histories]:
    """Reads what `write` wrote, batch by batch."""
    # Not mapped into memory: what was read would count as memory until the system drops it.
    with pa.OSFile(str(path)) as handle, pa.ipc.open_file(handle) as file:
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            yield Histories(
                user_ids=batch["user_id"],
                starts=batch["items"].offsets.to_numpy().astype(np.int64),
                items=batch["items"].values.to_numpy(),
                timestamps=batch["timestamps"].values.to_numpy(),
            )
