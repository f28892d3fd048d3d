"""Titles of items, from a CSV file of the user's."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from data_prep import InputError


def sample_titles(file: str | None, samples: list[dict[str, Any]]) -> dict[str, str]:
    """Titles of the items of `samples.json`, as far as a file (None: no file) has them."""
    if file is None:
        return {}
    shown = [row["history"] + row["recommended"] + [row["target"]] for row in samples]
    return read_titles(file, [item for row in shown for item in row])


def read_titles(file: str | Path, item_ids: Iterable[str]) -> dict[str, str]:
    """Titles of some items.

    Args:
        file: CSV (also `.gz`) with the columns `item_id` and `title`; of two rows of an item the
            first counts.
        item_ids: whose titles are wanted.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    columns = ["item_id", "title"]
    try:
        table = csv.read_csv(
            file,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except FileNotFoundError:
        raise InputError(f"--titles {file}: no such file") from None
    except (OSError, KeyError, pa.ArrowException) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"--titles {file}: not a CSV file with the columns item_id and title ({text})"
        ) from None
    # As in a log, blanks at its ends are no part of an id.
    table = table.set_column(0, "item_id", pc.utf8_trim_whitespace(table["item_id"]))
    table = table.filter(pc.is_in(table["item_id"], pa.array(list(item_ids), pa.string())))
    titles: dict[str, str] = {}
    for item, title in zip(*(table[name].to_pylist() for name in columns), strict=True):
        titles.setdefault(item, title)
    return titles
