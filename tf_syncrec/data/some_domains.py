"""Some domains of a prepared dataset, as a dataset of their own."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from data_prep import Catalogue
from data_prep.settings import DataConfig
from data_prep.store.item_columns import ItemColumns
from tf_syncrec.data.batches import PARALLEL_CALLS, TARGET, Sequences


class SomeDomains:
    """What is left of a dataset to a model that knows one domain alone, or two.

    Items are numbered anew from 1, those of other domains are gone from all sequences, users
    without an item do not train, and only targets of these domains are asked for.

    Args:
        prepared: the whole dataset.
        domains: indices of the domains, ascending; one may have no trained item.

    Attributes:
        catalogue: of these domains.
    """

    def __init__(self, prepared: Sequences, domains: Sequence[int]):
        self._prepared = prepared
        whole = prepared.catalogue
        self._kept = np.flatnonzero(np.isin(whole.item_domains, domains))
        new_domains = np.full(whole.num_domains, -1, np.int32)
        new_domains[list(domains)] = np.arange(len(domains))
        new_items = np.zeros(whole.num_items + 1, np.int32)  # by id; 0 of what is gone
        new_items[1 + self._kept] = 1 + np.arange(len(self._kept))
        self._new_domains, self._new_items = tf.constant(new_domains), tf.constant(new_items)
        self.catalogue = Catalogue(
            domains=tuple(whole.domains[domain] for domain in domains),
            item_ids=whole.item_ids[self._kept],
            item_domains=new_domains[whole.item_domains[self._kept]],
            counts=whole.counts[self._kept],
            repeats=whole.repeats[list(domains)],
        )

    @property
    def item_columns(self) -> ItemColumns | None:
        """What the file of items says of these domains', as `PreparedDataset.item_columns`."""
        said = getattr(self._prepared, "item_columns", None)
        if said is None:
            return None
        return dataclasses.replace(said, table=said.table.take(pa.array(self._kept)))

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
            .filter(lambda row: tf.gather(self._new_domains, row["domain"]) >= 0)
            .map(self._target_row, num_parallel_calls=PARALLEL_CALLS)
        )

    def _history(self, row):
        items = tf.gather(self._new_items, row["items"])
        return {
            "user_id": row["user_id"],
            "items": tf.boolean_mask(items, items > 0),
            "timestamps": tf.boolean_mask(row["timestamps"], items > 0),
        }

    def _target_row(self, row):
        return (
            {name: row[name] for name in TARGET}
            | self._history(row)
            | {
                "target": tf.gather(self._new_items, row["target"]),
                "basket": tf.gather(self._new_items, row["basket"]),
                "domain": tf.gather(self._new_domains, row["domain"]),
            }
        )
