"""Histories of a prepared dataset, where the log that it was made of is gone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data_prep.files import written_whole
from data_prep.log_histories import SCHEMA

if TYPE_CHECKING:
    from data_prep import PreparedDataset

ROWS_AT_ONCE = 2_000


def write_prepared(prepared: PreparedDataset, file: Path) -> int:
    """Writes the events that a dataset has of each user: what trains, and the targets.

    A user has a row in each split that has him, and the same events in several: a store has each
    once. Users and items that `data.min_interactions` left out are not there.

    Args:
        prepared: the dataset.
        file: as `data_prep.log_histories.write_histories` writes it.

    Returns:
        The number of rows.
    """
    number = 0
    with written_whole(file) as new, pa.ipc.new_file(str(new), SCHEMA) as out:
        rows = _rows(prepared)
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*some, strict=True), SCHEMA, strict=True)
            ]
            out.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
            number += len(some)
    return number


def _rows(prepared: PreparedDataset) -> Iterator[tuple[str, list[str], list[float]]]:
    names = prepared.catalogue.item_ids
    for split in ("train", "validation", "test"):
        for row in prepared.as_dataset(split).as_numpy_iterator():
            items = [str(names[item - 1]) for item in row["items"]]
            times = row["timestamps"].tolist()
            if split != "train":
                items.append(row["target_item_id"].decode())
                times.append(float(row["target_timestamp"]))
            yield row["user_id"].decode(), items, times
