"""What has been popular lately."""

import numpy as np
import pytest

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.prepared import with_times
from tf_syncrec.data.batches import Sequences, evaluation_batches
from tf_syncrec.data.some_domains import SomeDomains
from tf_syncrec.evaluation.full_ranking import PopularityScorer, rank_split
from tf_syncrec.scoring.recent_popularity import (
    HALF_LIVES,
    decayed_counts,
    fit_recent_popularity,
)


def test_counts_are_those_of_a_loop(make_prepared):
    prepared = with_times(make_prepared(users=15))
    events = [
        (int(item), float(time))
        for row in prepared.splits["train"]
        for item, time in zip(row["items"], row["timestamps"], strict=True)
    ]
    expected = np.zeros([len(HALF_LIVES), prepared.catalogue.num_items])
    for trial, half_life in enumerate(HALF_LIVES):
        for item, time in events:
            later = sum(other > time for _, other in events)
            expected[trial, item - 1] += 0.5 ** (later / len(events) / half_life)
    np.testing.assert_allclose(decayed_counts(prepared), expected, rtol=1e-9)
    np.testing.assert_array_equal(expected[0], prepared.catalogue.counts)


def test_one_moment_is_popularity(make_prepared):
    prepared = make_prepared(users=30)
    for row in prepared.splits["train"]:
        row["timestamps"] = np.full(len(row["items"]), 1.5e9)
    counts = decayed_counts(prepared)
    np.testing.assert_array_equal(counts, np.tile(prepared.catalogue.counts, [len(counts), 1]))


@pytest.mark.parametrize("domain", [None, 1])
def test_validation_chooses_how_lately(domain):
    """In one domain what is new is wanted, in the other what has been wanted for long."""
    rng, size, rows = np.random.default_rng(0), 20, []
    for user in range(400):
        # Of either domain: the higher the later, and in all the lower the more often.
        now = user / 400
        new = 1 + (int(now * (size - 1)) + rng.integers(0, 2, 3)) % size
        old = 1 + size + np.minimum(rng.geometric(0.3, 3) - 1, size - 1)
        times = np.sort(now + rng.uniform(0, 1e-3, 6))
        items = np.concatenate([new, old]).astype(np.int32)
        rows.append({"user_id": b"u%d" % user, "items": items, "timestamps": times})
    items = np.concatenate([row["items"] for row in rows])
    counts = np.bincount(items - 1, minlength=2 * size)
    ids = np.array([f"i{i}" for i in range(1, 2 * size + 1)], object)
    catalogue = Catalogue(
        ("new", "old"), ids, np.repeat(np.arange(2, dtype=np.int32), size), counts
    )
    targets = [
        {"user_id": b"v%d" % user, "items": np.array([2, size + 9], np.int32), "domain": d}
        | {"target": target, "target_item_id": b"i%d" % target}
        for user in range(200)
        for d, target in ((0, size - user % 2), (1, size + 1))
    ]
    splits: dict[str, list[dict]] = {"train": rows, "validation": targets, "test": targets}
    prepared: Sequences = FakePrepared(catalogue, splits)
    if domain is not None:
        prepared = SomeDomains(prepared, [domain])
    said: list[str] = []
    batches = evaluation_batches(prepared, "validation", 64)
    scorer = fit_recent_popularity(prepared, batches, said.append)
    found = rank_split(scorer, batches, prepared.catalogue).metrics(prepared.catalogue.domains)
    plain = PopularityScorer(prepared.catalogue.counts)
    usual = rank_split(plain, batches, prepared.catalogue).metrics(prepared.catalogue.domains)
    if domain is None:
        assert usual["domains"]["new"]["ndcg@10"] < 0.5 < found["domains"]["new"]["ndcg@10"]
        assert "new inf" not in said[0]
    assert found["domains"]["old"]["ndcg@10"] == 1.0
