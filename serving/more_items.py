"""Items that a run does not know, from a file: answered by their attributes, without a training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import Catalogue, InputError
from data_prep.read.items.item_file import locate_items
from data_prep.read.items.item_table import read_items
from data_prep.store.item_columns import item_columns
from tf_syncrec.config import Config
from tf_syncrec.data.item_encoder import ItemEncoder
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.new_items.more_items import NewItems, with_more_items


def read_more_items(
    file: Path,
    config: Config,
    model: MultiDomainModel,
    catalogue: Catalogue,
    report: Callable[[str], None],
) -> tuple[MultiDomainModel, Catalogue]:
    """Adds the items of a file to those that a model knows.

    Args:
        file: with `item_id`, `domain` (of a run with one domain it may lack) and the columns of the
            run's own items file; others are not read.
        config: of the run.
        model: trained with an items file.
        catalogue: its items.
        report: told how many there are.

    Returns:
        Model and catalogue with all of them, see `with_more_items`.

    Raises:
        InputError: the run has no items file, or this one cannot be used.
    """
    if model.item_encoder is None:
        raise InputError(
            f"--items {file}: the run was trained without --items, so it knows nothing of "
            "attributes; train it with an items file first"
        )
    settings = config.data.model_copy(
        update={"items": config.data.items.model_copy(update={"path": str(file), "columns": {}})}
    )
    located = locate_items(settings)
    assert located is not None
    items = read_items(located, report, columns=model.item_encoder.columns)
    names = items.table.column_names
    if "domain" not in names and catalogue.num_domains > 1:
        raise InputError(
            f"--items {file}: has no column 'domain', which says where each item is a candidate"
        )
    index = {name: number for number, name in enumerate(catalogue.domains)}
    ids = items.table["item_id"].to_pylist()
    found = np.zeros(len(ids), np.int64)
    if "domain" in names:
        found = np.array([index.get(name, -1) for name in items.table["domain"].to_pylist()])
    there = pa.array(catalogue.item_ids, pa.string())
    known = pc.is_in(items.table["item_id"], value_set=there).to_numpy()
    new = np.flatnonzero((found >= 0) & ~known)
    report(
        f"--items {file}: {len(new):,} new items; {int(known.sum()):,} that the run knows stay as "
        "they are" + _left_out(int(((found < 0) & ~known).sum()))
    )
    rows = item_columns(items).table.take(new)
    _check_lengths(file, rows, model.item_encoder)
    attributes = model.item_encoder.encode(rows)
    added = NewItems([ids[row] for row in new], found[new], attributes)
    return with_more_items(model, catalogue, added)


def _check_lengths(file: Path, rows: pa.Table, encoder: ItemEncoder) -> None:
    """Refuses vectors that are longer or shorter than those of the training."""
    for vocabulary in encoder.vocabularies:
        name = vocabulary.column.name
        if vocabulary.column.kind != "vector":
            continue
        for length in pc.unique(pc.list_value_length(rows[name])).drop_null().to_pylist():
            if length != vocabulary.length:
                raise InputError(
                    f"--items {file}: column '{name}': expected vectors of {vocabulary.length} "
                    f"numbers, as at training, received {length}"
                )


def _left_out(number: int) -> str:
    return f"; {number:,} of a domain that the run does not know are left out" if number else ""
