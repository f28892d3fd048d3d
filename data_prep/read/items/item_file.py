"""Finds what is known of items, `--items`, before anything heavy is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files import local_path
from data_prep.fingerprint import file_digest
from data_prep.read.datasets import complete_journey
from data_prep.read.sources import Source
from data_prep.read.tables import table_source
from data_prep.settings import ITEMS_OF_DATASET, DataConfig, SyntheticConfig

ITEM, DOMAIN = "item_id", "domain"
_RULES = 1
"""Raised where the same file comes to mean something else, so that it is prepared anew."""


@dataclasses.dataclass(frozen=True)
class ItemFile:
    """Where it is and what was said of its columns.

    Attributes:
      label: how to call it in a message.
      source: the file; None where the items are made up.
      names: of the file's columns for `item_id` and, if there is one, `domain`.
      kinds: what a column is, by its name, where that was said.
      made_up: of the synthetic dataset, its settings.
    """

    label: str
    source: Source | None
    names: Mapping[str, str]
    kinds: Mapping[str, str]
    made_up: SyntheticConfig | None = None

    def content(self) -> dict[str, Any]:
        """What a fingerprint needs to know: not where the file lies, nor how it is called."""
        digest = None if self.source is None else file_digest(self.source.path)
        return {"file": digest, "columns": dict(self.kinds), "rules": _RULES}


def locate_items(settings: DataConfig) -> ItemFile | None:
    """Looks at the file's first lines; None where none was given.

    Args:
      settings: that fit one another, see `DataConfig.check`.

    Raises:
      InputError: there is no such file, it has no `item_id`, or settings name another column.
    """
    of = settings.items
    if of.path is None:
        return None
    label = f"--items {of.path}"
    if of.path != ITEMS_OF_DATASET:
        return _located(local_path(of.path), label, settings.columns, of.columns)
    if settings.dataset == "complete_journey":
        products = complete_journey.local_sources()[1].path
        return _located(products, label, complete_journey.ITEM_COLUMNS, of.columns)
    if of.columns:
        raise InputError(
            f"data.items.columns.{next(iter(of.columns))}: {label} of synthetic needs none."
        )
    return ItemFile(label, None, {ITEM: ITEM, DOMAIN: DOMAIN}, {}, settings.synthetic)


def _located(
    path: Path, label: str, called: Mapping[str, str], kinds: Mapping[str, str]
) -> ItemFile:
    """Args as of `ItemFile`; `called`: what the log calls our columns, ours being tried first."""
    source = table_source(path, label)
    names = {}
    for ours in (ITEM, DOMAIN):
        there = [name for name in (ours, called.get(ours)) if name in source.columns]
        if there:
            names[ours] = str(there[0])
        elif ours == ITEM:
            table_source(path, label, [called.get(ours, ours)])  # raises
    for name, kind in kinds.items():
        if name in names.values():
            raise InputError(
                f"data.items.columns.{name}={kind}: {label}: says which item a row is of, and is "
                "none of its attributes."
            )
        if name not in source.columns:
            raise InputError(
                f"data.items.columns.{name}={kind}: {label} has no such column; it has "
                f"{', '.join(source.columns)[:500]}."
            )
    return ItemFile(label, source, names, dict(kinds))
