"""Two SASRecs in one: each is trained as by itself, and their scores are added."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.gradients import assert_same_gradients
from tf_syncrec.config import Config
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.metrics import target_ranks
from tf_syncrec.models.baselines.sasrec import SASRec, SASRecPair
from tf_syncrec.training.initial.item_vectors import initialise_items, item_vectors
from tf_syncrec.training.optimizers import optimizer_of

SIZES = (5, 4, 3)


def make(kind, **settings):
    """A tiny network without dropout; of equal settings, weights are those of equal seeds."""
    tiny = {"window": 6, "dim": 8, "blocks": 1, "dropout": 0.0, "temperature": 0.5}
    config = {"model": tiny | settings, "loss": {"negatives": 3}}
    return kind.from_settings(Config.model_validate(config), SIZES)


def pair_and_members(**settings):
    """A pair whose every weight matters, and two SASRecs with the weights of its two parts."""
    keras.utils.set_random_seed(0)
    pair, members = make(SASRecPair, **settings), [make(SASRec, **settings) for _ in range(2)]
    rng = np.random.default_rng(0)
    for weight in pair.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    for member, weights in zip(members, parts(pair), strict=True):
        for own, weight in zip(member.trainable_weights, weights, strict=True):
            own.assign(weight)
    return pair, members


def parts(pair):
    """The trainable weights of the first and of the second network."""
    second = pair.second.trainable_weights
    others = {id(weight) for weight in second}
    return [w for w in pair.trainable_weights if id(w) not in others], second


def test_each_network_has_the_gradient_that_it_has_by_itself(make_items, same_negatives):
    pair, members = pair_and_members()
    items = make_items([6, 4, 5, 2], SIZES)
    with tf.GradientTape() as tape:
        total = pair.batch_losses(items).total
    received = dict(
        zip(
            map(id, pair.trainable_weights),
            tape.gradient(total, pair.trainable_weights),
            strict=True,
        )
    )
    losses = []
    for member, weights in zip(members, parts(pair), strict=True):
        with tf.GradientTape() as tape:
            losses.append(member.batch_losses(items).total)
        expected = tape.gradient(losses[-1], member.trainable_weights)
        assert_same_gradients(member, expected, [received[id(weight)] for weight in weights])
    assert abs(losses[0] - losses[1]) > 1e-3
    np.testing.assert_allclose(total, sum(losses), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "rowwise_adam"])
def test_trained_together_they_are_what_they_are_trained_apart(
    optimizer, make_items, same_negatives
):
    pair, members = pair_and_members()
    for model in (pair, *members):
        model.compile(optimizer_of(optimizer, 0.01))
        for seed in range(3):
            model.train_on_batch({"items": make_items([6, 4, 5, 2], SIZES, seed)})
    for member, weights in zip(members, parts(pair), strict=True):
        for expected, received in zip(member.trainable_weights, weights, strict=True):
            np.testing.assert_allclose(received, expected, atol=1e-5, err_msg=expected.path)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_scores_are_added_and_weighed_by_domain(similarity, make_items, monkeypatch):
    """However they are computed: all items scaled at once, or products."""
    pair, members = pair_and_members(similarity=similarity)
    weights = np.array([0.25, 1.0, 1.5], np.float32)
    pair.view_weights.single.assign(weights)
    items = make_items([6, 4, 5, 2], SIZES)
    scorers = [ModelScorer(model) for model in (pair, *members)]
    for limit in (target_ranks.SCORES_AT_ONCE, 1):
        monkeypatch.setattr(target_ranks, "SCORES_AT_ONCE", limit)
        for domain, (size, weight) in enumerate(zip(SIZES, weights, strict=True)):
            batch = {"items": tf.constant(items), "domain": tf.fill([4], domain)}
            offset = 1 + sum(SIZES[:domain])
            received, first, second = (
                [scorer.refresh(), scorer.scores(scorer.queries(batch), offset, size)][1]
                for scorer in scorers
            )
            expected = weight * first + (2 - weight) * second
            np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
            candidates = pair.candidate_vectors(tf.range(offset, offset + size))
            products = tf.matmul(pair(batch), candidates, transpose_b=True)
            np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)


def test_the_two_begin_with_seeds_of_their_own(make_prepared):
    """The first as a SASRec of the same seed; item vectors from co-occurrence as well."""
    keras.utils.set_random_seed(3)
    pair = make(SASRecPair)
    keras.utils.set_random_seed(3)
    alone = make(SASRec)
    first, second = parts(pair)
    for one, other, same in zip(first, second, alone.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, same)
        if "kernel" in one.path or "items" in one.path:
            assert (one.numpy() != other.numpy()).all(), one.path
    assert pair._seed.state.numpy().tolist() != pair.second._seed.state.numpy().tolist()
    assert pair.count_trained() == 2 * alone.count_trained()

    prepared = make_prepared(SIZES)
    config = Config.model_validate({"model": {"dim": 8, "item_init": "cooccurrence"}})
    initialise_items(pair, config, prepared, lambda line: None)
    tables = [embedding.items.numpy() for embedding in pair.embeddings]
    np.testing.assert_array_equal(tables[0], item_vectors(prepared, 8, config.train.seed))
    assert (tables[0] != tables[1]).any(axis=1).all()
