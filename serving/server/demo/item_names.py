"""Items by name: what the demo page calls them, and what its search box finds."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from data_prep import InputError

FOUND = 12
"""Items that a search answers."""


class Item(NamedTuple):
    """What is known of an item; what is not is empty."""

    id: str
    title: str
    domain: str


class ItemNames:
    """Ids, titles and domains of items.

    Args:
        table: columns `item_id`, `title`, `domain`, strings, the ids distinct.
    """

    def __init__(self, table: pa.Table):
        self._table = table
        self._rows = {id_: row for row, id_ in enumerate(table["item_id"].to_pylist())}

    def of(self, ids: Iterable[str]) -> list[Item]:
        """Those of these items that are known, in their order."""
        return self._items([self._rows[id_] for id_ in ids if id_ in self._rows])

    def search(self, text: str) -> list[Item]:
        """Up to `FOUND` items whose title or id has every word of a text, in the table's order."""
        words = text.split()
        if not words:
            return []
        names = pc.binary_join_element_wise(self._table["title"], self._table["item_id"], " ")
        found = None
        for word in words:
            has = pc.match_substring(names, word, ignore_case=True)
            found = has if found is None else pc.and_(found, has)
        return self._items(pc.indices_nonzero(found)[:FOUND].to_pylist())

    def _items(self, rows: list[int]) -> list[Item]:
        some = self._table.take(pa.array(rows, pa.int64()))
        columns = (some[name].to_pylist() for name in ("item_id", "title", "domain"))
        return [Item(*row) for row in zip(*columns, strict=True)]


def read_item_names(file: Path) -> ItemNames:
    """Items of a CSV (also `.gz`) or Parquet file with `item_id` and maybe `title` and `domain`.

    Raises:
        InputError: it cannot be read, or has no ids.
    """
    try:
        if file.suffix == ".parquet":
            there = pq.read_schema(file).names
            wanted = [name for name in ("item_id", "title", "domain") if name in there]
            table = pq.read_table(file, columns=wanted)
        else:
            table = csv.read_csv(file, parse_options=csv.ParseOptions(newlines_in_values=True))
    except (OSError, pa.ArrowException) as error:
        text = " ".join(str(error).split())
        raise InputError(f"--items {file}: neither a CSV nor a Parquet file ({text})") from None
    if "item_id" not in table.column_names:
        raise InputError(
            f"--items {file}: no column item_id; its columns are {', '.join(table.column_names)}"
        )
    empty = pa.array([""] * table.num_rows, pa.string())
    columns = {
        name: pc.fill_null(table[name].cast(pa.string()), "")
        if name in table.column_names
        else empty
        for name in ("item_id", "title", "domain")
    }
    columns["item_id"] = pc.utf8_trim_whitespace(columns["item_id"])
    named = pa.table(columns)
    first = pa.table({"row": pa.array(range(named.num_rows)), "item_id": named["item_id"]})
    kept = first.group_by("item_id").aggregate([("row", "min")])["row_min"]
    return ItemNames(named.take(kept.take(pc.sort_indices(kept))))  # of equal ids the first
