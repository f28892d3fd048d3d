"""Datasets in memory whose items have attributes, and some of which nobody has had."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.read.items.kinds import Column
from data_prep.store.item_columns import ItemColumns
from tests.conftest import FakePrepared

COLUMNS = Column("brand", "category"), Column("words", "tokens", "|"), Column("seen", "vector")


def listed(rng, number, listed=1.0):
    """A table of some items: a brand of few, some words of few, and a vector."""
    is_listed = rng.random(number) < listed
    words = [[f"w{n}" for n in rng.choice(9, rng.integers(1, 4), replace=False)] for _ in is_listed]
    vectors = rng.normal(size=[number, 3]).astype(np.float32)

    def known(values):
        return [value if there else None for value, there in zip(values, is_listed, strict=True)]

    return pa.table(
        {
            "item_id": [f"i{n}" for n in range(number)],
            "listed": is_listed,
            "brand": pa.array(known(f"b{n}" for n in rng.integers(0, 4, number)), pa.string()),
            "words": pa.array(known(words), pa.list_(pa.string())),
            "seen": pa.array(known(vectors.tolist()), pa.list_(pa.float32())),
        }
    )


def with_items(prepared, cold=3, seed=0, unlisted=0.1):
    """The same log, with an items file: so many items more in each domain, all of them listed.

    Args:
        prepared: of `make_prepared`.
        cold: items more, that nobody has had.
        seed: of their attributes.
        unlisted: share of the log's items that the file lacks.
    """
    rng, before = np.random.default_rng(seed), prepared.catalogue
    domains = np.concatenate(
        [before.item_domains, np.repeat(np.arange(before.num_domains, dtype=np.int32), cold)]
    )
    # Those that nobody has had stand behind the others; in a random log some trained ones are rare.
    untrained = np.append(before.counts == 0, np.ones(cold * before.num_domains, bool))
    order = np.lexsort((untrained, domains))
    ids = np.append(before.item_ids, [f"cold {n}" for n in range(cold * before.num_domains)])
    counts = np.append(before.counts, np.zeros(cold * before.num_domains, np.int64))
    catalogue = dataclasses.replace(
        before, item_ids=ids[order], item_domains=domains[order], counts=counts[order]
    )
    moved = np.zeros(before.num_items + 1, np.int32)
    moved[order[order < before.num_items] + 1] = np.flatnonzero(order < before.num_items) + 1
    splits = {
        split: [
            row
            | {"items": moved[row["items"]]}
            | ({"target": int(moved[row["target"]])} if "target" in row else {})
            for row in rows
        ]
        for split, rows in prepared.splits.items()
    }
    found: Any = FakePrepared(catalogue, splits)
    found.item_columns = ItemColumns(listed(rng, len(order), 1 - unlisted), COLUMNS)
    return found
