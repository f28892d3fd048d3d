"""All that each user of a log did, whatever of it trains: for answers to everybody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep.engines.connection import connect
from data_prep.files import local_path, written_whole
from data_prep.pipeline.sequences import (
    events_of,
    in_units,
    items_of,
    settled_histories,
    users_of,
)
from data_prep.read import quarantine
from data_prep.read.interactions import read_dataset
from data_prep.read.locate import locate
from data_prep.settings import DataConfig

BATCH = 50_000
"""Events of the users that are written, and answered, together; one user may have more."""

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
    settings.check()
    located = locate(settings)
    number = 0
    with connect(settings.engine, settings.spark_master) as engine, written_whole(path) as new:
        reading = read_dataset(engine, settings, located, _downloads(settings), report)
        to_list = path.parent / quarantine.FILE_NAME
        bad = quarantine.set_aside(engine, reading, settings.max_bad_share, path.parent, to_list)
        if bad.size:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in bad.reasons.items())
            report(f"Passed over {bad.size:,} bad rows: {reasons}.")
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
                starts = pa.array(some.starts.astype(np.int32))
                ids = item_ids.take(pa.array(some.items)).cast(pa.string())
                times = pa.array(in_units(some.timestamps, reading.ticks))
                columns = [
                    some.user_ids.cast(pa.string()),
                    pa.ListArray.from_arrays(starts, ids),
                    pa.ListArray.from_arrays(starts, times),
                ]
                if with_domains:
                    of_items = domains.take(pa.array(some.items))
                    columns.append(pa.ListArray.from_arrays(starts, of_items))
                file.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                number += len(some.user_ids)
    report(f"Read {bad.rows:,} rows of {number:,} users.")
    return number


def _downloads(settings: DataConfig) -> Path:
    """Where the preparation of the same dataset keeps what it has fetched."""
    place = settings.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return local_path(place) / "downloads" / settings.dataset
