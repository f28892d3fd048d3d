"""Sampled ranking, against a ranking written out, and against full ranking."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.support.candidates import excluded
from tests.support.scorers import FixedScorer
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.data.item_similarity import similarities, user_items
from tf_syncrec.evaluation.full_ranking import PopularityScorer, rank_split
from tf_syncrec.evaluation.sampled import NEGATIVES, SAMPLED
from tf_syncrec.evaluation.sampled.expected import count_others, expected_metrics
from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives
from tf_syncrec.evaluation.sampled.sampled_ranking import rank_sampled
from tf_syncrec.metrics import target_ranks as metrics_ranks
from tf_syncrec.metrics.gains import rank_metrics
from tf_syncrec.models.baselines.item_knn import ItemKNN

SIZES = (150, 3, 0, 200)
ITEMS = sum(SIZES)


def random_scorer(seed=0, items=ITEMS):
    """Vectors of small integers, so that scores are exact and tie often."""
    rng = np.random.default_rng(seed)
    return FixedScorer(rng.integers(-2, 3, (4, 3)), rng.integers(-2, 3, (items + 1, 3)))


def ranked(
    prepared, scorer, folder, protocol, split="test", batch_size=16, count=NEGATIVES, name=None
):
    file = folder / f"{name or f'{protocol}_{split}'}.parquet"
    negatives = stored_negatives(file, prepared, split, protocol, count)
    batches = evaluation_batches(prepared, split, batch_size)
    return rank_sampled(scorer, batches, prepared.catalogue, negatives)


def impossible(prepared, split="test"):
    """Users whose target is no candidate."""
    rows, catalogue = prepared.splits[split], prepared.catalogue
    return {row["user_id"] for row in rows if row["target"] in {0, *excluded(row, catalogue)}}


def by_user(ranks):
    return dict(zip(ranks.user_ids, ranks.ranks, strict=True))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("protocol", SAMPLED)
def test_ranks_are_those_of_a_literal_ranking(make_prepared, tmp_path, protocol, split):
    prepared = make_prepared(SIZES)
    scorer = random_scorer()
    ranks = ranked(prepared, scorer, tmp_path, protocol, split)
    received = by_user(ranks)
    catalogue = prepared.catalogue
    ids = {name: number for number, name in enumerate(catalogue.item_ids, 1)}
    vectors, queries = scorer._candidates.numpy(), scorer._queries.numpy()
    rows = pq.read_table(tmp_path / f"{protocol}_{split}.parquet").to_pylist()
    missed = impossible(prepared, split)
    assert len(received) == len(rows) == 80
    tied = 0
    for row in rows:
        scores = vectors @ queries[catalogue.domains.index(row["domain"])]
        negatives = [scores[ids[name]] for name in row["negatives"]]
        if row["user_id"].encode() not in missed:
            own = scores[ids[row["item_id"]]]
            expected = 1 + sum(score >= own for score in negatives)
            tied += own in negatives
        else:
            expected = np.inf
        assert received[row["user_id"].encode()] == expected
    assert tied > 20 and ranks.cold.any() and len(set(received.values())) > 10
    metrics = ranks.metrics(catalogue.domains)
    assert metrics["overall"] == rank_metrics(np.array([*received.values()]))


def test_where_all_items_fit_it_is_full_ranking(make_prepared, tmp_path):
    prepared = make_prepared()  # no domain has more than 20 items
    scorer, batches = random_scorer(items=35), evaluation_batches(prepared, "test", 16)
    full = rank_split(scorer, batches, prepared.catalogue)
    sampled = ranked(prepared, scorer, tmp_path, "sampled_domain")
    for name, column in vars(full).items():
        np.testing.assert_array_equal(getattr(sampled, name), column)
    assert len(set(full.ranks)) > 5 and full.cold.any()


@pytest.mark.slow
def test_a_draw_is_near_what_counting_all_draws_gives(make_prepared, tmp_path):
    prepared = make_prepared(SIZES, users=1500)
    rng = np.random.default_rng(3)
    scorer = FixedScorer(rng.normal(size=(4, 8)), rng.normal(size=(ITEMS + 1, 8)))
    batches, catalogue = evaluation_batches(prepared, "test", 16), prepared.catalogue
    full = rank_split(scorer, batches, catalogue)
    others = count_others(batches, catalogue)
    offsets, sizes = catalogue.offsets, catalogue.sizes
    rows = {row["user_id"]: row for row in prepared.splits["test"]}
    for user, domain, count in zip(full.user_ids, full.domains, others, strict=True):
        of_domain = set(range(offsets[domain], offsets[domain] + sizes[domain]))
        out = {rows[user]["target"], *excluded(rows[user], catalogue)}
        assert count == len(of_domain - out)
    names = catalogue.domains
    for count in (20, 60):
        drawn = ranked(prepared, scorer, tmp_path, "sampled_domain", count=count, name=str(count))
        expected = expected_metrics(full.ranks, others, count, full.domains, names)["overall"]
        for metric, mean in expected.items():
            assert drawn.metrics(names)["overall"][metric] == pytest.approx(mean, abs=0.02)
        assert expected["hr@10"] > full.metrics(names)["overall"]["hr@10"] + 0.02


def test_fewer_competitors_never_make_it_harder(make_prepared, tmp_path):
    prepared = make_prepared(SIZES, users=100)
    rng = np.random.default_rng(3)
    scorer = FixedScorer(rng.normal(size=(4, 8)), rng.normal(size=(ITEMS + 1, 8)))
    full = rank_split(scorer, evaluation_batches(prepared, "test", 16), prepared.catalogue)
    sampled = ranked(prepared, scorer, tmp_path, "sampled_domain")
    assert (sampled.ranks <= full.ranks).all()
    known = np.isfinite(full.ranks)
    assert sampled.ranks[known].mean() < 0.75 * full.ranks[known].mean()


@pytest.mark.parametrize(("protocol", "at_once"), [(SAMPLED[0], 1), (SAMPLED[1], 3 * 200)])
def test_ranks_do_not_depend_on_batches(make_prepared, tmp_path, monkeypatch, protocol, at_once):
    prepared = make_prepared(SIZES, users=40)
    scorer = random_scorer()
    expected = by_user(ranked(prepared, scorer, tmp_path, protocol, batch_size=16))
    prepared.splits["test"].reverse()
    assert by_user(ranked(prepared, scorer, tmp_path, protocol, batch_size=100)) == expected
    monkeypatch.setattr(metrics_ranks, "SCORES_AT_ONCE", at_once)
    (tmp_path / "again").mkdir()  # nor do the negatives that somebody else draws
    other = ranked(prepared, scorer, tmp_path / "again", protocol, batch_size=7)
    assert by_user(other) == expected
    assert len(set(expected.values())) > 10


@pytest.mark.parametrize("protocol", SAMPLED)
def test_equal_scores_rank_last(make_prepared, tmp_path, protocol):
    prepared = make_prepared(SIZES)
    ranks = ranked(
        prepared, FixedScorer(np.ones((4, 1)), np.ones((ITEMS + 1, 1))), tmp_path, protocol
    )
    rows = pq.read_table(tmp_path / f"{protocol}_test.parquet").to_pylist()
    candidates = {row["user_id"].encode(): len(row["negatives"]) + 1 for row in rows}
    assert ranks.cold.any() and max(candidates.values()) == NEGATIVES + 1
    assert (min(candidates.values()) < 11) == (protocol == "sampled_domain")
    missed = impossible(prepared)
    for user, rank in zip(ranks.user_ids, ranks.ranks, strict=True):
        assert rank == (np.inf if user in missed else candidates[user])


@pytest.mark.parametrize("protocol", SAMPLED)
def test_what_knowing_the_domain_is_worth(make_prepared, tmp_path, protocol):
    """Nothing among items of the domain; most of a published number among items of all."""
    sizes = (300, 300, 300, 300)
    prepared = make_prepared(sizes, users=600, longest=6)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1201, 8))
    domains = np.eye(5, 4)[np.concatenate([[4], np.repeat(np.arange(4), 300)])]

    class Domain(FixedScorer):
        """Items of the domain that is asked for come first, in an order of the user's own."""

        def queries(self, batch):
            users = rng.normal(size=(len(batch["domain"]), 8))
            domains = tf.one_hot(batch["domain"], 4).numpy()
            return tf.constant(np.hstack([100 * domains, users]), tf.float32)

    ranks = ranked(prepared, Domain([], np.hstack([domains, noise])), tmp_path, protocol)
    hits = (ranks.ranks <= 10)[~ranks.cold]
    # Of the 101 candidates all are of the domain, or about the target and a quarter of the rest.
    chance = 10 / 101 if protocol == "sampled_domain" else 10 / 26
    standard_error = (chance * (1 - chance) / len(hits)) ** 0.5
    assert hits.mean() == pytest.approx(chance, abs=4 * standard_error + 0.02 * chance)


@pytest.mark.parametrize("protocol", SAMPLED)
@pytest.mark.parametrize("side", ["queries", "candidates", "scores"])
def test_what_is_not_finite_raises(make_prepared, tmp_path, protocol, side):
    vectors = {"queries": np.ones((4, 2)), "candidates": np.ones((ITEMS + 1, 2))}
    if side == "scores":  # finite vectors whose product is not
        vectors = {name: np.tile([3e38, -3e38], (len(v), 1)) for name, v in vectors.items()}
    else:
        vectors[side][-1, 1] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"scores|vectors"):
        ranked(make_prepared(SIZES), FixedScorer(**vectors), tmp_path, protocol)


@pytest.mark.parametrize("protocol", SAMPLED)
def test_a_split_without_targets(make_prepared, tmp_path, protocol):
    prepared = make_prepared(SIZES)
    prepared.splits["test"] = []
    assert ranked(prepared, random_scorer(), tmp_path, protocol).ranks.size == 0


@pytest.mark.parametrize("history", ["merged", "domain"])
@pytest.mark.parametrize("protocol", SAMPLED)
def test_item_knn_can_be_ranked(make_prepared, tmp_path, protocol, history):
    """Scores of items of other domains answer the query for the target's domain."""
    prepared = make_prepared((40, 3, 0, 40), users=50)
    catalogue = prepared.catalogue
    scorer = ItemKNN(similarities(user_items(prepared), catalogue), catalogue, 0.8, history)
    received = by_user(ranked(prepared, scorer, tmp_path, protocol))
    ids = {name: number for number, name in enumerate(catalogue.item_ids, 1)}
    rows = pq.read_table(tmp_path / f"{protocol}_test.parquet").to_pylist()
    negatives = {r["user_id"].encode(): [ids[name] for name in r["negatives"]] for r in rows}
    for batch in evaluation_batches(prepared, "test", 1):
        target = int(batch["target"][0])
        if batch["user_id"].numpy()[0] not in impossible(prepared):
            slices = [
                scorer.scores(scorer.queries(batch), offset, size)[0]
                for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True)
            ]
            scores = np.concatenate([[np.nan], *slices])
            user = batch["user_id"].numpy()[0]
            expected = 1 + (scores[negatives[user]] >= scores[target]).sum()
            assert received[user] == expected
    assert len(set(received.values())) > 10


def test_popularity_ranks_by_training_counts(make_prepared, tmp_path):
    prepared = make_prepared(SIZES)
    catalogue = prepared.catalogue
    received = by_user(
        ranked(prepared, PopularityScorer(catalogue.counts), tmp_path, "sampled_all")
    )
    counts = dict(zip(catalogue.item_ids, catalogue.counts, strict=True))
    rows = pq.read_table(tmp_path / "sampled_all_test.parquet").to_pylist()
    for row in rows:
        if row["user_id"].encode() not in impossible(prepared):
            own = counts[row["item_id"]]
            expected = 1 + sum(counts[name] >= own for name in row["negatives"])
            assert received[row["user_id"].encode()] == expected
    assert len(set(received.values())) > 10
