"""What the report shows of single users and of pairs of domains agrees with the ranking."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.candidates import excluded
from tests.support.listed_items import with_items
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.evaluation.samples import ANSWERS, sample_new_items, sample_recommendations
from tf_syncrec.metrics.gains import user_gains

SIZES = (12, 3, 0, 20)


@pytest.fixture
def setting(make_model, make_prepared):
    prepared = make_prepared(SIZES, users=50)
    model = make_model(SIZES)
    return prepared, ModelScorer(model)


def test_recommendations_are_the_ranking(setting, monkeypatch):
    monkeypatch.setattr("tf_syncrec.evaluation.samples.ROWS", 100)
    prepared, scorer = setting
    batches = evaluation_batches(prepared, "test", 16)
    rows = sample_recommendations(scorer, batches, prepared.catalogue)
    ranks = rank_split(scorer, batches, prepared.catalogue)
    rank_of = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
    histories = {
        row["user_id"].decode(): [f"item {i}" for i in row["items"]]
        for row in prepared.as_dataset("test").as_numpy_iterator()
    }
    assert {row["domain"] for row in rows} == {"domain 0", "domain 1", "domain 3"}
    found, repeated = 0, set()
    for row in rows:
        history = histories[row["user_id"]]
        assert row["history"] == history[-6:]
        assert row["earlier"] == max(len(history) - 6, 0)
        again = set(row["recommended"]) & set(history)
        assert row["domain"] in ("domain 1", "domain 3") or not again
        repeated |= again
        assert len(set(row["recommended"])) == len(row["recommended"]) <= ANSWERS
        rank = rank_of[row["user_id"].encode()]
        if rank <= len(row["recommended"]):
            assert row["recommended"][int(rank) - 1] == row["target"]
            found += 1
    assert found and repeated


def test_new_items_are_shown_with_those_who_are_recommended_them_first(make_prepared, make_model):
    """Against a literal count; a domain without new items shows none."""
    prepared = with_items(make_prepared(SIZES, users=50), cold=4)
    catalogue = prepared.catalogue
    scorer = ModelScorer(make_model(tuple(catalogue.sizes)))
    rows = sample_new_items(scorer, evaluation_batches(prepared, "test", 16), catalogue)
    assert len({row["item_id"] for row in rows}) == len(rows) >= 8
    expected: dict[str, list] = {row["item_id"]: [] for row in rows}
    scorer.refresh()
    for batch in evaluation_batches(prepared, "test", 1):
        domain = int(batch["domain"][0])
        offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        scores = np.array(scorer.scores(scorer.queries(batch), offset, size))[0]
        out = set(batch["excluded"].numpy()[0].tolist())
        for item in range(offset, offset + size):
            if (name := catalogue.item_ids[item - 1]) in expected:
                ahead = [
                    other
                    for other in range(offset, offset + size)
                    if other not in out and scores[other - offset] >= scores[item - offset]
                ]
                expected[name].append((len(ahead), batch["user_id"].numpy()[0].decode()))
    for row in rows:
        assert catalogue.cold[1 + catalogue.item_ids.tolist().index(row["item_id"])]
        assert row["candidates"] == catalogue.sizes[catalogue.domains.index(row["domain"])]
        found = [(user["rank"], user["user_id"]) for user in row["users"]]
        assert [r for r, _ in found] == [r for r, _ in sorted(expected[row["item_id"]])[:3]]
        assert set(found) <= set(expected[row["item_id"]])
    assert sum(len(row["users"]) for row in rows) > 12
    nothing_new = make_prepared((5, 4), users=5)
    nothing_new.catalogue.counts[:] = 1
    batches = evaluation_batches(nothing_new, "test", 16)
    assert sample_new_items(scorer, batches, nothing_new.catalogue) == []


def test_influence_is_the_difference_of_two_rankings(setting):
    prepared, scorer = setting
    catalogue = prepared.catalogue
    found = influence(scorer, evaluation_batches(prepared, "validation", 16), catalogue)
    rows = list(prepared.as_dataset("validation").as_numpy_iterator())

    def gain(row, items):
        batch = {name: tf.constant([row[name]]) for name in row} | {
            "items": tf.constant([items], tf.int32),
            "timestamps": tf.zeros([1, len(items)], tf.float64),
            "excluded": tf.constant([[*excluded(row, catalogue)]], tf.int32),
        }
        return user_gains(rank_split(scorer, [batch], catalogue).ranks, "ndcg@10")[0]

    domain_of = np.concatenate([[-1], catalogue.item_domains])
    checked = 0
    for d, domain in enumerate(catalogue.domains):
        for e, other in enumerate(catalogue.domains):
            changes = [
                gain(row, row["items"]) - gain(row, row["items"][domain_of[row["items"]] != e])
                for row in rows
                if row["domain"] == d != e and (domain_of[row["items"]] == e).any()
            ]
            cell = found.get(domain, {}).get(other)
            if len(changes) < 2:
                assert cell is None
                continue
            assert cell["users"] == len(changes)
            np.testing.assert_allclose(cell["change"], np.mean(changes), atol=1e-6)
            error = np.std(changes, ddof=1) / np.sqrt(len(changes))
            np.testing.assert_allclose(cell["error"], error, atol=1e-6)
            checked += 1
    assert checked >= 6


def test_a_scorer_that_reads_no_history_is_not_influenced(make_prepared):
    prepared = make_prepared(SIZES)
    batches = evaluation_batches(prepared, "validation", 16)
    found = influence(PopularityScorer(prepared.catalogue.counts), batches, prepared.catalogue)
    assert found
    assert all(cell["change"] == 0 for cells in found.values() for cell in cells.values())
