"""Datasets with times, and with people who come back; what a score is fitted on."""

import numpy as np

from tests.conftest import FakePrepared
from tf_syncrec.data.batches import evaluation_batches


def batches_of(prepared, split="validation"):
    return evaluation_batches(prepared, split, 64)


def with_times(prepared, seed=0):
    """Times of users overlap, and lie anywhere."""
    rng, splits = np.random.default_rng(seed), dict(prepared.splits)
    splits["train"] = [
        row | {"timestamps": np.sort(rng.uniform(-50, 1e6, len(row["items"])))}
        for row in splits["train"]
    ]
    return FakePrepared(prepared.catalogue, splits)


def coming_back(make_prepared, latest=0.7, **more):
    """Users who mostly come back to what they used last, in every second domain."""
    prepared = make_prepared(users=300, **more)
    rng, splits = np.random.default_rng(1), dict(prepared.splits)
    ids, domains = prepared.catalogue.item_ids, prepared.catalogue.item_domains
    for split in ("validation", "test"):
        splits[split] = [dict(row) for row in splits[split]]
        for row in splits[split]:
            last = int(row["items"][-1])
            if rng.random() < latest:
                row |= {"target": last, "domain": domains[last - 1]}
                row["target_item_id"] = ids[last - 1].encode()
    return FakePrepared(prepared.catalogue, splits)
