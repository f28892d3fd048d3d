"""Where targets stand among the items of all domains."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.support.candidates import excluded
from tests.support.mixing import literal_log_probabilities
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.full_ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.metrics import target_ranks as metrics_ranks
from tf_syncrec.models.syncrec import SyNCRec

SETTINGS = {"dim": 8, "blocks": 1, "experts": 2, "cross_experts": 1, "window": 12, "neighbours": 3}


def small_model(prepared, seed=0):
    keras.utils.set_random_seed(seed)
    model = SyNCRec.from_settings(
        Config.model_validate({"model": SETTINGS}), prepared.catalogue.sizes
    )
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    layer: Any = model.neighbours
    layer.others.assign(rng.integers(0, model.num_items + 1, layer.others.shape))
    layer.similarities.assign(rng.uniform(0, 1, layer.others.shape))
    layer.weight.assign(4.0)
    layer.decay.assign(0.7)
    for weight in model.mixture.weights:
        weight.assign(rng.uniform(0.3, 1.5, weight.shape))
    return model


def ranked(scorer, prepared, mixture=None, size=16):
    batches = evaluation_batches(prepared, "test", size)
    return rank_all_domains(scorer, batches, prepared.catalogue, mixture)


def place(scores, target, cold):
    """1 + those that are at least as good; a miss where it is cold."""
    if cold:
        return np.inf
    return (scores >= scores[target - 1]).sum()


MANY = (0, 1, *[5, 1, 0, 2] * 6, 4, 0)


@pytest.mark.parametrize("sizes", [(12, 3, 0, 20), pytest.param(MANY, marks=pytest.mark.slow)])
def test_ranks_are_those_of_all_log_probabilities(make_prepared, sizes):
    """Also with thirty domains, with empty ones, and with one item in some."""
    prepared = make_prepared(sizes, users=60)
    model, catalogue = small_model(prepared), prepared.catalogue
    scorer = ModelScorer(model)
    mixed, raw = ranked(scorer, prepared, model.mixture)
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    scores: dict[bytes, np.ndarray] = {}
    for batch in evaluation_batches(prepared, "test", 16):  # domain by domain, as `rank_split` does
        of_domains = [
            scorer.scores(queries, offset, size).numpy()
            for queries, offset, size in zip(
                scorer.queries_of_domains(batch, len(sizes)),
                catalogue.offsets.tolist(),
                sizes,
                strict=True,
            )
            if size
        ]
        scores |= zip(batch["user_id"].numpy(), np.concatenate(of_domains, axis=1), strict=True)
    repeated: set[bool] = set()
    for user, cold, of_mixture, as_it_is in zip(
        mixed.user_ids, mixed.cold, mixed.ranks, raw.ranks, strict=True
    ):
        row, own = rows[user], scores[user].astype(float)
        out = excluded(row, catalogue)
        repeated |= {row["target"] in out} if row["target"] in row["items"] else set()
        missed = cold or row["target"] in out
        expected = literal_log_probabilities(model.mixture, own, row["items"], out)
        assert of_mixture == place(expected, row["target"], missed)
        own[[item - 1 for item in out]] = -np.inf
        assert as_it_is == place(own, row["target"], missed)
    assert (mixed.ranks != raw.ranks).mean() > 0.3 and mixed.cold.any()
    assert repeated == {True, False}


def test_queries_of_domains_are_those_that_each_domain_has(make_prepared):
    prepared = make_prepared()
    scorer = ModelScorer(small_model(prepared))
    scorer.refresh()
    (batch, *_) = evaluation_batches(prepared, "test", 16)
    for d, found in enumerate(scorer.queries_of_domains(batch, 4)):
        alone = scorer.queries(batch | {"domain": np.full(len(batch["domain"]), d, np.int32)})
        for ours, theirs in zip(found, alone, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_ranks_do_not_depend_on_batches_or_on_how_many_scores_are_held(
    make_prepared, monkeypatch, at_once
):
    prepared = make_prepared(users=40)
    model = small_model(prepared)
    expected = ranked(ModelScorer(model), prepared, model.mixture)
    monkeypatch.setattr(metrics_ranks, "SCORES_AT_ONCE", at_once)
    received = ranked(ModelScorer(model), prepared, model.mixture, size=5)
    for ours, theirs in zip(received, expected, strict=True):
        in_order = dict(zip(theirs.user_ids, theirs.ranks, strict=True))
        assert dict(zip(ours.user_ids, ours.ranks, strict=True)) == in_order


def test_of_one_domain_it_is_full_ranking_and_within_one_the_mixture_says_nothing(make_prepared):
    prepared = make_prepared((0, 30), users=40)
    model = small_model(prepared)
    batches = evaluation_batches(prepared, "test", 16)
    alone = rank_split(ModelScorer(model), batches, prepared.catalogue)
    there = alone.domains == 1  # a target of the other is behind the items of this one
    for ranks in ranked(ModelScorer(model), prepared, model.mixture):
        np.testing.assert_array_equal(ranks.ranks[there], alone.ranks[there])
    prepared = make_prepared(users=40)
    model, batches = small_model(prepared), evaluation_batches(prepared, "test", 16)
    before = rank_split(ModelScorer(model), batches, prepared.catalogue).ranks
    for weight in model.mixture.weights:
        weight.assign(weight * 3)
    after = rank_split(ModelScorer(model), batches, prepared.catalogue).ranks
    np.testing.assert_array_equal(before, after)


def test_popularity_counts_over_all_domains_and_ties_rank_against(make_prepared):
    prepared = make_prepared(users=40)
    found, same = ranked(PopularityScorer(prepared.catalogue.counts), prepared)
    np.testing.assert_array_equal(found.ranks, same.ranks)
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    for user, cold, rank in zip(found.user_ids, found.cold, found.ranks, strict=True):
        counts = prepared.catalogue.counts.astype(float)
        target, out = rows[user]["target"], excluded(rows[user], prepared.catalogue)
        counts[[item - 1 for item in out]] = -np.inf
        assert rank == place(counts, target, cold or target in out)


def test_a_score_that_is_no_number_is_an_error(make_prepared):
    prepared = make_prepared()
    model = small_model(prepared)
    table = model.embedding.items.numpy()
    table[14] = np.nan
    model.embedding.items.assign(table)
    with pytest.raises(Exception, match=r"scores|check_numerics|NaN"):
        ranked(ModelScorer(model), prepared, model.mixture)
