"""Titles of items: from a file of the user's, or what a run knows from its file of items."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.read.tables import read_texts, table_source


def sample_titles(
    file: str | Path | None,
    samples: list[dict[str, Any]],
    new_items: list[dict[str, Any]] | None = None,
) -> dict[str, str]:
    """Titles of the items of `samples.json` and `new_items.json`, as far as a file has them.

    Args:
        file: None: none has.
        samples: of the one.
        new_items: of the other.
    """
    if file is None:
        return {}
    shown = [row["history"] + row["recommended"] + [row["target"]] for row in samples]
    for row in new_items or []:
        shown += [[row["item_id"]], *(user["history"] for user in row["users"])]
    return read_titles(file, [item for row in shown for item in row])


def read_titles(file: str | Path, item_ids: Iterable[str] | None = None) -> dict[str, str]:
    """Titles of items.

    Args:
        file: CSV, TSV or Parquet with the columns `item_id` and `title`; of two rows of an item
            the first counts.
        item_ids: whose titles are wanted; None: all.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    columns = ["item_id", "title"]
    table = read_texts(table_source(Path(file), f"--titles {file}", columns), columns)
    if item_ids is None:
        table = table.filter(pc.is_valid(table["item_id"]))
    else:
        wanted = pa.array(list(item_ids), pa.string())
        table = table.filter(pc.is_in(table["item_id"], wanted))
    titles: dict[str, str] = {}
    for item, title in zip(*(column.to_pylist() for column in table), strict=True):
        titles.setdefault(item, title or "")
    return titles
