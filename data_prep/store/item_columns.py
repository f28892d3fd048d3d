"""What a file says of the known items, as it is stored beside the catalogue and in its order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.files import written_whole
from data_prep.read.items.item_table import Items
from data_prep.read.items.kinds import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_NAME = "item_columns.parquet"
_COLUMNS_KEY = b"columns"


@dataclasses.dataclass(frozen=True)
class ItemColumns:
    """What is known of items, one a row.

    Attributes:
      table: `item_id`; `listed: bool`, whether the file has the item; and the columns, null where
        it has not. Their types are those of `data_prep.read.items.cells`.
      columns: what each is; those that are ignored are not there.
    """

    table: pa.Table
    columns: tuple[Column, ...]

    @property
    def titles(self) -> pa.Table | None:
        """`item_id, title`, of the items that have one; None where no column is the title."""
        name = next((column.name for column in self.columns if column.kind == "title"), None)
        if name is None:
            return None
        pairs = self.table.select(["item_id", name]).rename_columns(["item_id", "title"])
        return pairs.filter(pc.is_valid(pairs["title"])).replace_schema_metadata(None)


def item_columns(items: Items, item_ids: Sequence[str] | np.ndarray | None = None) -> ItemColumns:
    """Brings what a file says into the order of items.

    Args:
      items: what the file says.
      item_ids: the items; by default those of the file, as they are there.
    """
    columns = tuple(column for column in items.columns if column.kind != "ignore")
    names, said = items.table["item_id"], items.table.select([c.name for c in columns])
    if item_ids is None:
        listed = pa.array(np.ones(len(names), bool))
        keys = {"item_id": names, "listed": listed}
    else:
        wanted = pa.array(item_ids, pa.string())
        places = pc.index_in(wanted, value_set=names.combine_chunks().cast(pa.string()))
        keys = {"item_id": wanted, "listed": pc.is_valid(places)}
        said = said.take(places)
    values = {f"of:{name}": said[name] for name in said.column_names}
    table = pa.table(keys | values).rename_columns([*keys, *said.column_names])
    return ItemColumns(table, columns)


def write(items: Items, item_ids: np.ndarray, folder: Path) -> None:
    """Stores what a file says of the items of a catalogue.

    Args:
      items: what the file says.
      item_ids: of the catalogue, in its order.
      folder: of the dataset.
    """
    found = item_columns(items, item_ids)
    facts = json.dumps([dataclasses.asdict(c) for c in found.columns], ensure_ascii=False)
    table = found.table.replace_schema_metadata({_COLUMNS_KEY: facts.encode()})
    with written_whole(folder / FILE_NAME) as new:
        pq.write_table(table, new)


def read(folder: Path) -> ItemColumns | None:
    """Reads what `write` has stored; None where there is nothing."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    with path.open("rb") as handle:
        table = pq.read_table(handle)
    columns = json.loads((table.schema.metadata or {})[_COLUMNS_KEY])
    return ItemColumns(table, tuple(Column(**column) for column in columns))
