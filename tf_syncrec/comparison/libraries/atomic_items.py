"""What is known of items, in RecBole's form: a field of attributes for each column of the file."""

import re
from pathlib import Path

import numpy as np

from tf_syncrec.data.item_attributes import ItemAttributes

ITEM_ID = "item_id"
TOGETHER = "attributes"
"""The field that has the attributes of several columns."""

_WORDS = ("text", "title")


def write_items(
    path: Path, attributes: ItemAttributes, trained: np.ndarray
) -> tuple[list[str], str]:
    """Writes RecBole's atomic file of items.

    RecBole's models know of no weights, so an item has an attribute or not. Ready-made vectors are
    nothing to them. Words of texts are left out of the field of all columns, unless there is
    nothing else: S3Rec predicts every attribute of every item of a sequence.

    Args:
        path: `NAME.item`.
        attributes: of all items of a catalogue.
        trained: `[items]` bool, which of them are written; all others RecBole does not know.

    Returns:
        Names of the fields of a column each, those without attributes left out; and of the field
        that has those of several.
    """
    column_of = attributes.column_of[attributes.tokens]
    parts: dict[str, np.ndarray] = {}
    kinds = {}
    for number, column in enumerate(attributes.encoder.columns):
        mine = column_of == number
        if mine.any():
            field = _free_name(column.name, {*parts, ITEM_ID, TOGETHER})
            parts[field], kinds[field] = mine, column.kind
    some = [field for field, kind in kinds.items() if kind not in _WORDS] or list(parts)
    together = np.any([parts[field] for field in some], axis=0) if some else column_of > 0
    columns = parts | {TOGETHER: together}
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join([f"{ITEM_ID}:token", *(f"{f}:token_seq" for f in columns)]) + "\n")
        for item in np.flatnonzero(trained) + 1:
            held = (" ".join(map(str, attributes.tokens[item, m[item]])) for m in columns.values())
            file.write("\t".join([str(item), *held]) + "\n")
    return list(parts), TOGETHER


def _free_name(name: str, taken: set[str]) -> str:
    """A name of a field: letters, digits and underscores, and no other field's."""
    found = re.sub(r"\W", "_", name)
    while found in taken:
        found += "_"
    return found
