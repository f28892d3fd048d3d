"""Votes of neighbours: lists, sums, and what validation chooses."""

import itertools

import keras
import numpy as np
import pytest
import scipy.sparse as sparse
import tensorflow as tf

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.networks import fit_neighbours, small_network
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.data.item_similarity import similar_items, similarities, user_items
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.trials import rank_trials
from tf_syncrec.layers import ItemNeighbours
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.models.baselines.item_knn import ItemKNN
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.scoring.view_weights import WEIGHTS as VIEW_WEIGHTS
from tf_syncrec.scoring.view_weights import rank_weights
from tf_syncrec.scoring.votes import (
    BACKWARD,
    DECAYS,
    SHRINKAGE,
    USER_WEIGHTS,
    WEIGHTS,
    rank_votes,
)

HISTORY = 12


def neighbour_lists(prepared, count):
    """Whom the same users had, as votes are counted."""
    return similar_items(user_items(prepared), count, SHRINKAGE)


def of_prepared(prepared, count):
    """A layer with the lists of a dataset."""
    layer = ItemNeighbours(prepared.catalogue.num_items, count, HISTORY)
    layer.build()
    for state, values in zip(
        (layer.others, layer.similarities), neighbour_lists(prepared, count), strict=True
    ):
        state.assign(values)
    return layer


def small_model(prepared, neighbours, seed=0):
    keras.utils.set_random_seed(seed)  # whatever ran before
    settings = {"model": {"dim": 8, "blocks": 1, "neighbours": neighbours}}
    return SASRec.from_settings(Config.model_validate(settings), prepared.catalogue.sizes)


@pytest.mark.parametrize("count", [1, 4, 60])
def test_lists_hold_the_most_similar_of_all_domains(make_prepared, count):
    prepared = make_prepared()
    ids, values = neighbour_lists(prepared, count)
    every = similarities(user_items(prepared), prepared.catalogue, SHRINKAGE)
    dense = sparse.hstack(every).toarray()
    assert ids.shape == values.shape == (prepared.catalogue.num_items + 1, count)
    for item, row in enumerate(dense):
        nearest = sorted((-value, other + 1) for other, value in enumerate(row) if value)[:count]
        assert ids[item].tolist() == [o for _, o in nearest] + [0] * (count - len(nearest))
        np.testing.assert_array_equal(values[item, : len(nearest)], [-v for v, _ in nearest])
        assert not values[item, len(nearest) :].any()
    assert (ids[1:] > 0).mean() > 0.5


def test_few_users_are_weak_evidence():
    """By hand: who is always beside somebody counts n / (n + 10), n the users of both."""
    support = {1: 1, 3: 10, 5: 90}  # of the pairs (1, 2), (3, 4), (5, 6)
    users = [item for item, count in support.items() for _ in range(count)]
    rows = [
        {"user_id": b"u%d" % u, "items": np.array([i, i + 1], np.int32)}
        for u, i in enumerate(users)
    ]
    catalogue = Catalogue(
        ("a", "b"),
        np.array([f"i{i}" for i in range(1, 7)], object),
        np.repeat(np.arange(2, dtype=np.int32), 3),
        np.repeat(list(support.values()), 2),
    )
    ids, values = neighbour_lists(FakePrepared(catalogue, {"train": rows}), 1)
    np.testing.assert_array_equal(ids[1:, 0], [2, 1, 4, 3, 6, 5])
    np.testing.assert_allclose(values[1:, 0], np.repeat([1 / 11, 1 / 2, 0.9], 2), rtol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_whole_lists_vote_as_item_knn_scores(make_prepared, weight):
    """Also of repeated items, whose latest place counts, and of rows with padding."""
    prepared = make_prepared(longest=HISTORY - 1)
    catalogue = prepared.catalogue
    layer = of_prepared(prepared, catalogue.num_items)
    layer.weight.assign(weight)
    layer.decay.assign(0.7)
    knn = ItemKNN(
        similarities(user_items(prepared), catalogue, SHRINKAGE), catalogue, 0.7, "merged"
    )
    repeated = 0
    for batch in evaluation_batches(prepared, "test", 16):
        domain = int(batch["domain"][0])
        offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        if not size:
            continue
        expected = weight * knn.scores(knn.queries(batch), offset, size)
        base = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
        ids, votes = layer(batch["items"])
        received = add_votes(tf.constant(base), ids, votes, offset)
        np.testing.assert_allclose(received, base + expected, rtol=1e-5, atol=1e-5)
        repeated += sum(len(set(row[row > 0])) < (row > 0).sum() for row in batch["items"].numpy())
    assert repeated > 10


def test_only_the_latest_items_vote(make_prepared):
    layer = of_prepared(make_prepared(), 5)
    layer.weight.assign(1.0)
    layer.decay.assign(0.9)
    items = np.random.default_rng(0).integers(1, 36, (3, 50)).astype(np.int32)
    for received, expected in zip(layer(items), layer(items[:, -HISTORY:]), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_validation_chooses_weight_and_decay(make_prepared):
    prepared = make_prepared(users=120)
    model = small_model(prepared, neighbours=6)
    batches = evaluation_batches(prepared, "validation", 16)
    said: list[str] = []
    fit_neighbours(model, prepared, batches, said.append)
    layer = model.neighbours
    chosen = [float(layer.weight), float(layer.decay)]

    scorer, found = ModelScorer(model), {}
    for weight, decay in itertools.product(WEIGHTS, DECAYS):
        layer.weight.assign(weight)
        layer.decay.assign(decay)
        ranks = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
        found[weight, decay] = ranks.metrics(prepared.catalogue.domains)["overall"]["ndcg@10"]
    best = max(found, key=found.__getitem__)  # of equals the first
    assert best[0] > 0
    np.testing.assert_allclose(chosen, best)
    assert f"{found[best]:.4f}, without {found[0.0, 0.5]:.4f}" in said[0]
    assert len({round(value, 6) for value in found.values()}) > len(found) // 2


def test_validation_chooses_what_like_users_say(make_prepared):
    """Their weight, and that of what they had before, of all that are tried."""
    prepared = make_prepared(users=120)
    model = small_network(prepared, SASRec, user_neighbours=10)
    batches = evaluation_batches(prepared, "validation", 16)
    said: list[str] = []
    fit_neighbours(model, prepared, batches, said.append)
    layer = model.user_neighbours
    chosen = [float(layer.weight), float(layer.backward)]

    scorer, found = ModelScorer(model), {}
    for weight, backward in itertools.product(USER_WEIGHTS, BACKWARD):
        layer.weight.assign(weight)
        layer.backward.assign(backward)
        ranks = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
        found[weight, backward] = ranks.metrics(prepared.catalogue.domains)["overall"]["ndcg@10"]
    best = max(found, key=found.__getitem__)  # of equals the first
    np.testing.assert_allclose(chosen, best)
    assert f"{found[best]:.4f}, without {found[0.0, 0.0]:.4f}" in said[0]
    assert len({round(value, 6) for value in found.values()}) > len(found) // 2


@pytest.mark.parametrize("seed", range(4))
def test_votes_of_several_weights_rank_as_the_whole_scores_do(make_prepared, seed):
    """Scores that are often equal, repeated ids, targets that are excluded or were never seen."""
    prepared = make_prepared((40, 12, 0, 3), users=150, seed=seed)
    catalogue, count = prepared.catalogue, prepared.catalogue.num_items
    batches = evaluation_batches(prepared, "validation", 16)
    rng = np.random.default_rng(seed)
    of_items = rng.integers(-3, 4, (2, count + 1)).astype(np.float32) / 3
    kinds = [rng.integers(0, 3, count + 1).astype(np.float32) / 7 for _ in DECAYS]

    def ask(batch):
        return tf.cast(batch["items"] % 2, tf.float32)[:, -1:]

    def scores(said, offset, size):
        return said * of_items[0, offset : offset + size] + of_items[1, offset : offset + size]

    def votes(said, items):
        ids = tf.concat([items, items[:, :1], (items * 7) % (count + 1)], axis=1)
        for kind in kinds:
            yield ids, tf.gather(kind, ids)

    def whole(said, items, offset, size):
        of_network = scores(said, offset, size)
        for kind, (ids, of_history) in enumerate(votes(said, items)):
            added = add_votes(tf.zeros_like(of_network), ids, of_history, offset)
            for place, weight in enumerate(WEIGHTS):
                yield place * len(DECAYS) + kind, of_network + weight * added

    expected = rank_trials(batches, catalogue, len(WEIGHTS) * len(DECAYS), ask, whole)
    found = rank_votes(batches, catalogue, WEIGHTS, len(DECAYS), ask, scores, votes)
    np.testing.assert_array_equal(found.gains, expected.gains)
    np.testing.assert_array_equal(found.domains, expected.domains)
    assert len(np.unique(found.gains)) == 11  # every rank of the first ten, and none of them


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("digits", [1, 7])
def test_weighed_scores_rank_as_all_of_them_do(make_prepared, seed, digits):
    """With one digit many are equal; targets are excluded, or were never seen."""
    prepared = make_prepared((40, 12, 0, 3), users=150, seed=seed)
    catalogue, weights = prepared.catalogue, VIEW_WEIGHTS
    batches = evaluation_batches(prepared, "validation", 16)
    rng = np.random.default_rng(seed)
    of_items = rng.normal(size=(3, 4, catalogue.num_items + 1)).round(digits).astype(np.float32)

    def ask(batch):
        return batch["items"][:, -1] % 4

    def parts(said, offset, size):
        return [tf.gather(each[:, offset : offset + size], said) for each in of_items]

    def whole(said, items, offset, size):
        first, second, added = parts(said, offset, size)
        for trial, weight in enumerate(weights):
            yield trial, weight * first + (2.0 - weight) * second + added

    expected = rank_trials(batches, catalogue, len(weights), ask, whole)
    found = rank_weights(batches, catalogue, weights, ask, parts)
    np.testing.assert_array_equal(found.gains, expected.gains)
    np.testing.assert_array_equal(found.domains, expected.domains)
    assert len(np.unique(found.gains)) == 11


def test_a_network_can_be_ranked_without_its_votes(make_prepared):
    """As if their weight were 0, which it is not; with votes, other ranks."""
    prepared = make_prepared(users=120)
    model = small_model(prepared, neighbours=6)
    batches = evaluation_batches(prepared, "validation", 16)
    fit_neighbours(model, prepared, batches, lambda line: None)

    def ranks(**options):
        scorer = ModelScorer(model, **options)
        return rank_split(scorer, batches, prepared.catalogue, with_rows=False).ranks

    with_votes, without = ranks(), ranks(votes=False)
    assert float(model.neighbours.weight) > 0 and (with_votes != without).any()
    model.neighbours.weight.assign(0.0)
    np.testing.assert_array_equal(without, ranks())


def test_without_anything_to_count_nobody_votes():
    """No two users share an item: counting says nothing of what somebody is yet to have."""
    catalogue = Catalogue(
        ("a", "b"),
        np.array([f"i{i}" for i in range(1, 41)], object),
        np.repeat(np.arange(2, dtype=np.int32), 20),
        np.ones(40, np.int64),
    )
    target = {"target": 40, "domain": 1, "target_item_id": b"i40"}
    splits: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    for user in range(10):
        row = {"user_id": b"%d" % user, "items": np.arange(1, 4, dtype=np.int32) + 3 * user}
        splits["train"].append(row)
        splits["validation"].append(row | target)
    prepared = FakePrepared(catalogue, splits)
    model = small_model(prepared, neighbours=3)
    fit_neighbours(
        model, prepared, evaluation_batches(prepared, "validation", 4), lambda line: None
    )
    assert float(model.neighbours.weight) == 0


def test_votes_are_saved_with_the_weights_and_never_trained(make_prepared, tmp_path):
    prepared = make_prepared(users=120)
    model = small_model(prepared, neighbours=6)
    batches = evaluation_batches(prepared, "validation", 16)
    fit_neighbours(model, prepared, batches, lambda line: None)
    model.save_weights(tmp_path / "one.weights.h5")
    twin = small_model(prepared, neighbours=6, seed=1)
    twin.load_weights(tmp_path / "one.weights.h5")
    ranks = [
        rank_split(ModelScorer(each), batches, prepared.catalogue).ranks for each in (model, twin)
    ]
    np.testing.assert_array_equal(ranks[0], ranks[1])
    without = small_model(prepared, neighbours=0)
    assert [w.shape for w in model.trainable_weights] == [
        w.shape for w in without.trainable_weights
    ]
    assert model.count_trained() == without.count_trained()
    assert model.count_params() > without.count_params()
