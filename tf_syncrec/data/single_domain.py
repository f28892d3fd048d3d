"""One domain of a prepared dataset, as a dataset of its own."""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from data_prep.settings import DataConfig
from data_prep.store.item_columns import ItemColumns
from tf_syncrec.data.batches import PARALLEL_CALLS, TARGET, Sequences


class SingleDomain:
    """What is left of a dataset to a model that knows one domain alone.

    Items are numbered anew from 1, those of other domains are gone from all sequences, users
    without an item do not train, and only targets of the domain are asked for.

    Args:
        prepared: the whole dataset.
        domain: index of the domain; it may have no trained item.

    Attributes:
        catalogue: of the domain.
    """

    def __init__(self, prepared: Sequences, domain: int):
        self._prepared, self._domain = prepared, domain
        whole = prepared.catalogue
        self._offset, self._size = int(whole.offsets[domain]), int(whole.sizes[domain])
        own = slice(self._offset - 1, self._offset - 1 + self._size)
        self.catalogue = Catalogue(
            domains=(whole.domains[domain],),
            item_ids=whole.item_ids[own],
            item_domains=np.zeros(self._size, np.int32),
            counts=whole.counts[own],
            repeats=whole.repeats[domain : domain + 1],
        )

    @property
    def item_columns(self) -> ItemColumns | None:
        """What the file of items says of the domain's, as `PreparedDataset.item_columns`."""
        said = getattr(self._prepared, "item_columns", None)
        if said is None:
            return None
        own = said.table.slice(self._offset - 1, self._size)
        return dataclasses.replace(said, table=own)

    @property
    def settings(self) -> DataConfig | None:
        """What the whole dataset was prepared with, where it says so."""
        return getattr(self._prepared, "settings", None)

    def as_dataset(self, split: str) -> tf.data.Dataset:
        """As `PreparedDataset.as_dataset`; training rows have no target."""
        if split == "train":
            return (
                self._prepared.as_dataset(split)
                .map(self._history, num_parallel_calls=PARALLEL_CALLS)
                .filter(lambda row: tf.size(row["items"]) > 0)
            )
        return (
            self._prepared.as_dataset(split)
            .filter(lambda row: row["domain"] == self._domain)
            .map(self._target_row, num_parallel_calls=PARALLEL_CALLS)
        )

    def _history(self, row):
        items = row["items"]
        own = (items >= self._offset) & (items < self._offset + self._size)
        return {
            "user_id": row["user_id"],
            "items": tf.boolean_mask(items, own) - (self._offset - 1),
            "timestamps": tf.boolean_mask(row["timestamps"], own),
        }

    def _target_row(self, row):
        known = row["target"] > 0
        return (
            {name: row[name] for name in TARGET}
            | self._history(row)
            | {
                "target": tf.where(known, row["target"] - (self._offset - 1), 0),
                "basket": tf.where(row["basket"] > 0, row["basket"] - (self._offset - 1), 0),
                "domain": tf.zeros_like(row["domain"]),
            }
        )
