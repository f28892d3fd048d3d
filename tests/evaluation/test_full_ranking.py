"""Full ranking, against a ranking written out in numpy."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.support.candidates import excluded
from tests.support.scorers import FixedScorer
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import (
    ModelScorer,
    PopularityScorer,
    VectorScorer,
    rank_split,
    target_ranks,
)
from tf_syncrec.metrics import target_ranks as metrics_ranks
from tf_syncrec.metrics.gains import METRICS, user_gains

OFFSET, SIZE, ITEMS = 8, 20, 35
"""The domain that is ranked, and items of other domains on both sides of it."""


def ranks_of(queries, candidates, history, targets, offset=OFFSET, size=SIZE):
    scores = FixedScorer([], candidates).scores(queries, offset, size)
    return target_ranks(scores, history, targets, offset).numpy()


def literal_rank(scores, out, target, offset, size):
    """Sorts the candidates, best first and the target behind its equals, and looks it up."""
    candidates = [i for i in range(offset, offset + size) if i not in set(out)]
    if target not in candidates:
        return np.inf
    candidates.sort(key=lambda item: (-scores[item], item == target))
    return candidates.index(target) + 1


def random_batch(seed, users=40, length=30):
    """Vectors of small integers, so that scores are exact and tie often."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (users, 3)).astype(np.float32)
    candidates = rng.integers(-2, 3, (ITEMS + 1, 3)).astype(np.float32)
    history = rng.integers(1, ITEMS + 1, (users, length)).astype(np.int32)
    for row, padding in zip(history, rng.integers(0, length + 1, users), strict=True):
        row[:padding] = 0
    history[0] = np.arange(length) % SIZE + OFFSET  # everything was seen
    targets = rng.integers(OFFSET, OFFSET + SIZE, users).astype(np.int32)
    targets[::7] = 0  # never trained
    targets[1::5] = np.where(
        (history[1::5, -1] >= OFFSET) & (history[1::5, -1] < OFFSET + SIZE),
        history[1::5, -1],
        targets[1::5],
    )
    return queries, candidates, history, targets


def literal_ranks(queries, candidates, history, targets):
    scores = queries @ candidates.T
    return [
        literal_rank(row, items[items > 0], target, OFFSET, SIZE)
        for row, items, target in zip(scores, history, targets, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_a_literal_ranking(seed):
    batch = random_batch(seed)
    _, _, history, targets = batch
    assert (history == targets[:, None]).any(axis=1).any(), "some target must be in its history"
    expected = literal_ranks(*batch)
    assert len(set(expected)) > 5
    np.testing.assert_array_equal(ranks_of(*batch), expected)


@pytest.mark.parametrize("at_once", [1, 3 * 20, 40 * 20])
def test_ranks_do_not_depend_on_how_many_scores_are_held(monkeypatch, make_prepared, at_once):
    rng = np.random.default_rng(7)
    scorer = FixedScorer(rng.integers(-2, 3, (4, 3)), rng.integers(-2, 3, (36, 3)))
    _, expected = evaluated(make_prepared, scorer)
    held = []
    monkeypatch.setattr(metrics_ranks, "SCORES_AT_ONCE", at_once)

    def scores(self, queries, offset, size):
        held.append(len(queries) * size)
        return VectorScorer.scores(self, queries, offset, size)

    monkeypatch.setattr(FixedScorer, "scores", scores)
    _, ranks = evaluated(make_prepared, scorer)
    np.testing.assert_array_equal(ranks.ranks, expected.ranks)
    assert max(held) <= max(at_once, 20)


def test_history_of_any_width():
    queries, candidates, _, targets = random_batch(8)
    history = np.zeros((len(targets), 0), np.int32)
    expected = literal_ranks(queries, candidates, history, targets)
    np.testing.assert_array_equal(ranks_of(queries, candidates, history, targets), expected)


@pytest.mark.parametrize("sizes", [(12, 3, 0, 20), (0, 3, 0, 0)])
def test_a_target_never_trained_is_worth_nothing(make_prepared, sizes):
    """However few candidates there are, none at all included, and by every metric."""
    scorer = FixedScorer(np.ones((4, 1)), np.ones((1 + sum(sizes), 1)))
    prepared, ranks = evaluated(make_prepared, scorer, sizes=sizes)
    for d, size in enumerate(sizes):
        assert np.all(ranks.cold[ranks.domains == d]) == (size == 0)
    assert 0 < ranks.cold.sum() < len(ranks.cold)
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    had = [
        rows[user]["target"] in excluded(rows[user], prepared.catalogue) for user in ranks.user_ids
    ]
    worth = np.stack([user_gains(ranks.ranks, metric) for metric in METRICS])
    assert np.all(worth[:, ranks.cold | had] == 0)
    assert np.all(worth[METRICS.index("mrr"), ~(ranks.cold | had)] > 0)
    for d, (name, size) in enumerate(zip(prepared.catalogue.domains, sizes, strict=True)):
        found = ranks.metrics(prepared.catalogue.domains)["domains"][name]
        assert found["users"] == (ranks.domains == d).sum()  # they stay in the denominator
        assert size or not any(found[metric] for metric in METRICS)


def evaluated(make_prepared, scorer, split="test", **settings):
    prepared = make_prepared(**settings)
    ranks = rank_split(scorer, evaluation_batches(prepared, split, 16), prepared.catalogue)
    return prepared, ranks


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_is_ranked_whole(make_prepared, split):
    rng = np.random.default_rng(1)
    queries, candidates = rng.integers(-2, 3, (4, 3)), rng.integers(-2, 3, (36, 3))
    prepared, ranks = evaluated(make_prepared, FixedScorer(queries, candidates), split)
    catalogue = prepared.catalogue
    scores = queries @ candidates.T
    rows = {row["user_id"]: row for row in prepared.splits[split]}
    assert sorted(ranks.user_ids) == sorted(rows)
    assert ranks.cold.any() and (ranks.domains == 2).any()
    ends = np.cumsum(ranks.history_lengths)
    for i, user in enumerate(ranks.user_ids):
        row, d = rows[user], ranks.domains[i]
        assert (d, ranks.target_ids[i]) == (row["domain"], row["target_item_id"])
        assert ranks.cold[i] == (row["target"] == 0)
        history = ranks.history_items[ends[i] - ranks.history_lengths[i] : ends[i]]
        np.testing.assert_array_equal(history, row["items"])
        assert ranks.ranks[i] == literal_rank(
            scores[d],
            excluded(row, catalogue),
            row["target"],
            catalogue.offsets[d],
            catalogue.sizes[d],
        )
    metrics = ranks.metrics(catalogue.domains)
    assert metrics["overall"]["users"] == len(rows)
    assert sum(m["users"] for m in metrics["domains"].values()) == len(rows)


def test_rows_can_be_left_out_without_a_change_of_ranks(make_prepared):
    prepared = make_prepared()
    scorer, batches = (
        PopularityScorer(prepared.catalogue.counts),
        evaluation_batches(prepared, "test", 16),
    )
    whole = rank_split(scorer, batches, prepared.catalogue)
    bare = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
    assert len(whole.target_ids) == len(whole.history_lengths) == len(whole.ranks) == 80
    assert bare.target_ids.size == bare.history_items.size == 0
    for name in ("user_ids", "ranks", "domains", "cold"):
        np.testing.assert_array_equal(getattr(bare, name), getattr(whole, name))


@pytest.mark.parametrize("kind", ["constant", "domain"])
def test_a_scorer_that_knows_no_item_gets_the_worst_rank(make_prepared, kind):
    """Knowing the domain must be worth nothing, else the candidates are the wrong ones."""
    domains = np.concatenate([[4], np.repeat(np.arange(4), (12, 3, 0, 20))])
    candidates = np.ones((36, 4)) if kind == "constant" else np.eye(5, 4)[domains]
    prepared, ranks = evaluated(make_prepared, FixedScorer(np.eye(4), candidates))
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    for user, d, rank in zip(ranks.user_ids, ranks.domains, ranks.ranks, strict=True):
        offset, size = prepared.catalogue.offsets[d], prepared.catalogue.sizes[d]
        out = excluded(rows[user], prepared.catalogue)
        candidates_left = size - sum(offset <= item < offset + size for item in out)
        if rows[user]["target"] and rows[user]["target"] not in out:
            assert rank == candidates_left
        else:
            assert rank == np.inf


def test_random_scores_give_chance():
    users, items = 3000, 200
    rng = np.random.default_rng(0)
    ranks = ranks_of(
        rng.normal(size=(users, 16)).astype(np.float32),
        rng.normal(size=(items + 1, 16)).astype(np.float32),
        np.zeros((users, 1), np.int32),
        rng.integers(1, items + 1, users).astype(np.int32),
        1,
        items,
    )
    # Four standard errors.
    assert ranks.mean() / (items + 1) == pytest.approx(0.5, abs=4 * 0.289 / users**0.5)
    assert (ranks <= 10).mean() == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / users) ** 0.5)
    assert (ranks.min(), ranks.max()) == (1, items)


@pytest.mark.parametrize("side", ["queries", "candidates"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_raises(make_prepared, side, value):
    vectors = {"queries": np.ones((4, 2)), "candidates": np.ones((36, 2))}
    vectors[side][-1, 1] = value  # of the last domain and its last item
    with pytest.raises(tf.errors.InvalidArgumentError, match="scores"):
        evaluated(make_prepared, FixedScorer(**vectors))


def test_finite_vectors_whose_scores_overflow_raise(make_prepared):
    huge = np.array([3e38, -3e38])
    scorer = FixedScorer(np.tile(huge, (4, 1)), np.tile(huge, (36, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="scores"):
        evaluated(make_prepared, scorer)


def test_popularity_ranks_by_training_counts(make_prepared):
    prepared = make_prepared()
    catalogue = prepared.catalogue
    batches = evaluation_batches(prepared, "test", 16)
    ranks = rank_split(PopularityScorer(catalogue.counts), batches, catalogue)
    counts = Counter(int(i) for row in prepared.splits["train"] for i in row["items"])
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    checked = 0
    for user, d, rank in zip(ranks.user_ids, ranks.domains, ranks.ranks, strict=True):
        target, out = int(rows[user]["target"]), excluded(rows[user], catalogue)
        if target and target not in out:
            items = range(catalogue.offsets[d], catalogue.offsets[d] + catalogue.sizes[d])
            better = [i for i in items if counts[i] >= counts[target] and i not in out]
            assert rank == 1 + len(set(better) - {target})
            checked += 1
    assert checked > 50


def test_model_scorer_scores_like_the_model(make_prepared, make_model):
    prepared = make_prepared()
    model = make_model(prepared.catalogue.sizes, window=5)
    scorer = ModelScorer(model)
    for batch in evaluation_batches(prepared, "test", 7).take(3):
        direct = model.query_vectors(batch["items"], batch["domain"][:, None])[:, 0]
        np.testing.assert_allclose(scorer.queries(batch), direct, rtol=1e-4, atol=1e-5)
    scorer.refresh()
    vectors = model.candidate_vectors(np.arange(model.num_items + 1))
    received = scorer.scores(direct, 13, 3)
    np.testing.assert_allclose(received, direct @ tf.transpose(vectors[13:16]), rtol=1e-5)
