"""Items by name: what the demo page calls them, and what its search box finds."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.read.tables import read_texts, table_source
from tf_syncrec.reporting.titles import read_titles

_COLUMNS = ("item_id", "title", "domain")
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


def read_item_names(file: Path, titles: Path | None = None) -> ItemNames:
    """Items of a file of items.

    Args:
        file: CSV, TSV or Parquet with `item_id` and maybe `title` and `domain`; of two rows of an
            item the first counts, and rows without an id are left out.
        titles: a file with `item_id` and `title`, whose titles count in place of those of `file`.

    Raises:
        InputError: one cannot be read, or has no ids.
    """
    source = table_source(file, f"--items {file}", ["item_id"])
    there = read_texts(source, [name for name in _COLUMNS if name in source.columns])
    ids = there["item_id"].to_pylist()
    first = {id_: row for row, id_ in reversed(list(enumerate(ids))) if id_ is not None}
    kept = pa.array(sorted(first.values()), pa.int64())
    table = there.take(kept)
    columns = {
        name: pc.fill_null(table[name], "")
        if name in there.column_names
        else pa.array([""] * len(kept), pa.string())
        for name in _COLUMNS
    }
    if titles is not None:
        title_of = read_titles(titles, first)
        texts = [title_of.get(id_, "") for id_ in table["item_id"].to_pylist()]
        columns["title"] = pa.array(texts, pa.string())
    return ItemNames(pa.table(columns))
