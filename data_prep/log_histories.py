"""All that each user of a log did, whatever of it trains: for answers to everybody."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.engines.base import Engine
from data_prep.engines.connection import connect
from data_prep.engines.spark import Spark
from data_prep.files import local_path, written_whole
from data_prep.pipeline.sequences import (
    events_of,
    in_units,
    items_of,
    settled_histories,
    users_of,
)
from data_prep.pipeline.user_histories import Histories, settle_ties
from data_prep.read import quarantine
from data_prep.read.interactions import Reading, read_dataset
from data_prep.read.locate import locate
from data_prep.settings import DataConfig

BATCH = 50_000
"""Events of the users that are written, and answered, together; one user may have more."""

USERS_OF_A_PART = 10_000
"""Of the tasks that Spark makes of the users, roughly."""

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "items": pa.list_(pa.string()),
        "timestamps": pa.list_(pa.float64()),
    }
)
"""A row a user, oldest first, in batches that say nothing of ids: an Arrow IPC file."""

DOMAINS = pa.field("domains", pa.list_(pa.string()))
"""One column more: the domain of each item."""


def write_histories(
    settings: DataConfig,
    path: Path,
    report: Callable[[str], None] = lambda line: None,
    batch_rows: int = BATCH,
    with_domains: bool = False,
) -> int:
    """Writes the history of every user of a log: all rows that can be read, in the order of time.

    Rows of one user, item and time are one; ties are ordered by a hash, as for training. No user or
    item is left out for having little.

    Args:
      settings: which log; what decides splits and cores is not looked at.
      path: the file, see `SCHEMA`; where too many rows cannot be used, they are listed beside it.
      report: told one line a step.
      batch_rows: events of a batch.
      with_domains: whether the domain of each item is told: that of most of its rows.

    Returns:
      The number of users.

    Raises:
      InputError: the log cannot be read, or too many of its rows cannot be used.
    """
    number = 0
    with written_whole(path) as new, _reading(settings, path.parent, report) as read:
        engine, reading, rows = read
        items = engine.hold(items_of(reading.rows))
        users = engine.hold(users_of(reading.rows))
        events = engine.hold(events_of(reading.rows, users, items))
        engine.release(*reading.held)
        listed = engine.fetch(items.order_by("item").select("item_id", "domain"))
        item_ids = listed["item_id"].cast(pa.large_string()).combine_chunks()
        domains = listed["domain"].cast(pa.string()).combine_chunks()
        schema = SCHEMA.append(DOMAINS) if with_domains else SCHEMA
        with pa.ipc.new_file(new, schema) as file:
            for some in settled_histories(engine, events, users, item_ids, batch_rows):
                batch = _batch(some, item_ids, reading.ticks)
                if with_domains:
                    of_items = domains.take(pa.array(some.items))
                    starts = pa.array(some.starts.astype(np.int32))
                    batch = batch.append_column(DOMAINS, pa.ListArray.from_arrays(starts, of_items))
                file.write_batch(batch)
                number += len(some.user_ids)
    report(f"Read {rows:,} rows of {number:,} users.")
    return number


@dataclasses.dataclass(frozen=True)
class SparkHistories:
    """The histories of a log as Spark has them, before ties are settled.

    Attributes:
      frame: a DataFrame, a row a user: `user_id` and `rows`, a list of `timestamp, item_id` in the
        order of time.
      users: how many there are.
      latest: the time of the last event, in the unit of the log.
      ticks: see `Reading`.
    """

    frame: Any
    users: int
    latest: float
    ticks: int


@contextlib.contextmanager
def spark_histories(
    settings: DataConfig, folder: Path, report: Callable[[str], None] = lambda line: None
) -> Iterator[SparkHistories]:
    """What `write_histories` writes, without bringing it here: a worker calls `settled` on it.

    Args:
      settings: which log, with Spark as the engine.
      folder: where rows that cannot be used are listed.
      report: told one line a step.

    Yields:
      The histories, which are there until the end.

    Raises:
      InputError: as `write_histories`.
    """
    with _reading(settings, folder, report) as (engine, reading, rows):
        assert isinstance(engine, Spark)
        events = engine.hold(reading.rows.select("user_id", "item_id", "timestamp").distinct())
        engine.release(*reading.held)
        found = engine.fetch(
            events.aggregate(users=events.user_id.nunique(), latest=events.timestamp.max())
        )
        users, latest = found["users"][0].as_py(), found["latest"].to_numpy()
        report(f"Read {rows:,} rows of {users:,} users.")
        parts = users // USERS_OF_A_PART
        frame = engine.lists(events, "user_id", ("timestamp", "item_id"), parts)
        yield SparkHistories(frame, users, float(in_units(latest, reading.ticks)[0]), reading.ticks)


def settled(batch: pa.RecordBatch, ticks: int) -> pa.RecordBatch:
    """Histories as `write_histories` writes them, see `SCHEMA`.

    Args:
      batch: rows of `SparkHistories.frame`.
      ticks: likewise.
    """
    lists = batch["rows"]
    events, starts = lists.flatten(), lists.offsets.to_numpy().astype(np.int64)
    items = events.field("item_id").cast(pa.large_string()).dictionary_encode()
    some = Histories(
        user_ids=batch["user_id"],
        starts=starts - starts[0],
        items=items.indices.to_numpy(),
        timestamps=events.field("timestamp").to_numpy(),
    )
    return _batch(settle_ties(some, items.dictionary), items.dictionary, ticks)


def _batch(some: Histories, item_ids: pa.Array, ticks: int) -> pa.RecordBatch:
    starts = pa.array(some.starts.astype(np.int32))
    ids = item_ids.take(pa.array(some.items)).cast(pa.string())
    times = pa.array(in_units(some.timestamps, ticks))
    columns = [
        some.user_ids.cast(pa.string()),
        pa.ListArray.from_arrays(starts, ids),
        pa.ListArray.from_arrays(starts, times),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


@contextlib.contextmanager
def _reading(
    settings: DataConfig, folder: Path, report: Callable[[str], None]
) -> Iterator[tuple[Engine, Reading, int]]:
    """The log in its engine, and how many rows it has; what cannot be used is set aside."""
    settings.check()
    located = locate(settings)
    with connect(settings.engine, settings.spark_master) as engine:
        reading = read_dataset(engine, settings, located, _downloads(settings), report)
        listed = folder / quarantine.FILE_NAME
        bad = quarantine.set_aside(engine, reading, settings.max_bad_share, folder, listed)
        if bad.size:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in bad.reasons.items())
            report(f"Passed over {bad.size:,} bad rows: {reasons}.")
        yield engine, reading, bad.rows


def _downloads(settings: DataConfig) -> Path:
    """Where the preparation of the same dataset keeps what it has fetched."""
    place = settings.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return local_path(place) / "downloads" / settings.dataset
