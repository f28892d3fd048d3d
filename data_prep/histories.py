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

_SEPARATOR = b"\x1f"  # Keeps ("ab", "c") and ("a", "bc") apart in the hash.
_SCHEMA = pa.schema(
    {"user_id": pa.string(), "items": pa.list_(pa.int32()), "timestamps": pa.list_(pa.float64())}
)


@dataclasses.dataclass(frozen=True)
class Histories:
    """Some users, with all of their events.

    Attributes:
      user_ids: `[users]` strings.
      starts: `[users + 1]`, where each user's events start, and their number.
      items: `[events]` int32, codes.
      timestamps: `[events]` float64, never decreasing within a user.
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


def whole_users(batches: Iterable[pa.RecordBatch]) -> Iterator[Histories]:
    """Cuts a stream of events between users.

    Args:
      batches: rows of `user` (a number), `user_id, item, timestamp`, ordered by user and time.

    Yields:
      All users, in the order of the stream.
    """
    pending: list[pa.RecordBatch] = []  # Of one user, who may go on in the next batch.
    for batch in batches:
        if not batch.num_rows:
            continue
        users = batch["user"].to_numpy()
        last = int(np.searchsorted(users, users[-1]))
        if not pending or users[-1] != pending[0]["user"][0].as_py():
            if pending or last:
                yield _histories([*pending, batch.slice(0, last)])
            pending, batch = [], batch.slice(last)
        pending.append(batch)
    if pending:
        yield _histories(pending)


def _histories(batches: list[pa.RecordBatch]) -> Histories:
    table = pa.Table.from_batches(batches)
    first = np.flatnonzero(np.diff(table["user"].to_numpy(), prepend=-1))
    return Histories(
        user_ids=table["user_id"].take(pa.array(first)).combine_chunks().cast(pa.string()),
        starts=np.append(first, table.num_rows),
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
    users = histories.user_ids.take(pa.array(owners[tied])).cast(pa.binary())
    names = item_ids.take(pa.array(items[tied])).cast(pa.binary())
    keys = pc.binary_join_element_wise(users, names, _SEPARATOR)
    digests = b"".join([hashlib.md5(key).digest() for key in keys.to_pylist()])
    high, low = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2).T
    items[tied] = items[tied[np.lexsort((low, high, tie))]]
    return dataclasses.replace(histories, items=items)


def write(batches: Iterable[Histories], path: Path) -> None:
    """Writes histories to a file."""
    with pa.ipc.new_file(path, _SCHEMA) as file:
        for some in batches:
            starts = pa.array(some.starts, pa.int32())
            columns = [
                some.user_ids,
                pa.ListArray.from_arrays(starts, pa.array(some.items, pa.int32())),
                pa.ListArray.from_arrays(starts, pa.array(some.timestamps, pa.float64())),
            ]
            file.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))


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
