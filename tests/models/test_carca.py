"""CARCA: what a candidate makes of the profile, slot by slot, and that it is served as ranked."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep import InputError
from serving.export import export
from tests.support.listed_items import with_items
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.layers import split_views
from tf_syncrec.losses.functions import LOSSES
from tf_syncrec.models.baselines.carca import CARCA
from tf_syncrec.models.registry import network_of
from tf_syncrec.scoring.score_parts import score_parts

TINY = {"window": 6, "dim": 8, "blocks": 1, "dropout": 0.0}


def shaken(model) -> Any:
    """The same with weights that all matter."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    return model


def small(sizes=(5, 4, 3), heads=2, **settings) -> Any:
    keras.utils.set_random_seed(0)
    return shaken(CARCA(sizes, heads=heads, **TINY | {"negatives": 3} | settings))


def literal_score(model, profile, candidate):
    """Eq. 7-10 of the paper for one profile `[slots, dim]` and one candidate `[dim]`."""
    decoder = model.decoder

    def mapped(x, which):
        matrix, bias = (weight.numpy() for weight in decoder.maps[which])
        y = x @ matrix + bias
        return np.where(y > 0, y, 0.2 * y)

    centred = candidate - candidate.mean()
    e = centred / np.sqrt(centred @ centred / len(candidate) + 1e-6)
    parts = []
    for head in np.split(np.arange(model.dim), decoder.heads):
        query = mapped(e, 0)[head]
        logits = [key[head] @ query / np.sqrt(len(head)) for key in mapped(profile, 1)]
        shares = np.exp(logits) / np.exp(logits).sum()
        parts.append(sum(a * v[head] for a, v in zip(shares, mapped(profile, 2), strict=True)))
    return float((np.concatenate(parts) * e) @ decoder.weight.numpy()[:, 0] + decoder.bias.numpy())


def profiles(model, items):
    """What is encoded of each history, without padding."""
    domains = tf.zeros([len(items), 1], tf.int32)
    view, _ = split_views(tf.constant(items), domains, model.offsets, model.window)
    encoded = model.encoder(model.embedding(view), view.mask)[0].numpy()
    return [row[there] for row, there in zip(encoded, view.mask[:, -1].numpy(), strict=True)]


@pytest.mark.parametrize("heads", [1, 2])
def test_a_score_is_what_the_candidate_makes_of_the_profile(heads, make_items):
    model = small(heads=heads)
    items = make_items([9, 4, 1])
    queries = model({"items": tf.constant(items), "domain": tf.zeros([3], tf.int32)})
    ids = np.arange(1, 13)
    vectors = model.embedding.embed_items(tf.constant(ids)).numpy()
    expected = [
        [literal_score(model, profile, vector) for vector in vectors]
        for profile in profiles(model, items)
    ]
    assert np.std(expected, axis=0).min() > 0.01
    candidates = model.candidate_vectors(tf.constant(ids))
    found = model.candidate_scores(queries, candidates)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    # Candidates do not see each other: alone, or of each row its own, they score the same.
    alone = model.candidate_scores(queries, candidates[4:5])
    np.testing.assert_allclose(alone, found[:, 4:5], rtol=1e-4, atol=1e-5)
    own = model.candidate_scores(queries, tf.tile(candidates[None, ::-1], [3, 1, 1]))
    np.testing.assert_allclose(own, found[:, ::-1], rtol=1e-4, atol=1e-5)


def test_no_query_vector_gives_these_scores(make_items):
    """Scores of the candidates by all users would have rank r, were they dot products."""
    model = small(sizes=(60,))
    items = make_items([5, 3] * 30, (60,))
    queries = model({"items": tf.constant(items), "domain": tf.zeros([60], tf.int32)})
    scores = model.candidate_scores(queries, model.candidate_vectors(tf.range(1, 61)))
    strengths = np.linalg.svd(scores, compute_uv=False)
    assert strengths[model.dim + 1] > 1e-3 * strengths[0]


@pytest.mark.parametrize("shared", [True, False])
def test_training_scores_each_target_by_what_came_before(shared, make_items, monkeypatch):
    model = small(negatives=2, shared_negatives=shared)
    # A row's last slot has the last position, so that a beginning alone would have others.
    model.embedding.positions.assign(tf.zeros_like(model.embedding.positions))
    items = make_items([6, 3])
    met, drawn = [], []
    draw = type(model.negatives).__call__

    def loss(positive, negative, rate):
        met.append((positive, negative))
        return positive

    def drawing(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(model, "target_loss", loss)
    monkeypatch.setattr(type(model.negatives), "__call__", drawing)
    model.batch_losses(tf.constant(items))
    ((positive, negative),) = met
    ids = drawn[0].numpy()
    for row, history in enumerate(items):
        whole = history[history > 0]
        for length, target in enumerate(whole):
            slot = length - len(whole)
            domain = int(np.searchsorted([6, 10], target, side="right"))
            asked = {"items": tf.constant(whole[None, :length]), "domain": tf.constant([domain])}
            others = ids[domain] if shared else ids[row, slot]
            candidates = model.candidate_vectors(tf.constant([target, *others]))
            expected = model.candidate_scores(model(asked), candidates)[0].numpy()
            assert float(positive[row, slot]) == pytest.approx(expected[0], abs=2e-4)
            for other, score, found in zip(
                others, expected[1:], negative[row, slot].numpy(), strict=True
            ):
                wanted = -1e9 if other in (0, target) else score
                assert found == pytest.approx(wanted, abs=2e-4)


def test_the_published_loss_is_bce_with_a_negative_a_target(make_prepared):
    settings = network_of("carca_published_loss").settings
    sections: dict[str, dict] = {"model": {"name": "carca"}, "loss": {}}
    for key, value in settings.items():
        section, name = key.split(".")
        sections[section][name] = value
    config = Config.model_validate(sections)
    model = network_of("carca_published_loss").build(config, make_prepared())
    assert model.target_loss is LOSSES["bce"]
    assert (model.negatives.count, model.negatives.shared) == (1, False)


def test_attributes_reach_the_score_and_new_items_are_scored_by_them(make_prepared):
    prepared = with_items(make_prepared(sizes=(12, 5, 20)))
    config = Config.model_validate({"model": TINY | {"name": "carca", "neighbours": 0}})
    keras.utils.set_random_seed(0)
    model = shaken(network_of("carca").build(config, prepared))
    cold = np.flatnonzero(prepared.catalogue.cold)
    queries = model({"items": tf.constant([[1, 2, 3]]), "domain": tf.constant([0])})
    before = model.candidate_scores(queries, model.candidate_vectors(tf.constant(cold))).numpy()
    table = model.embedding.attributes.table
    table.assign(table + np.random.default_rng(1).normal(0, 0.5, table.shape))
    after = model.candidate_scores(queries, model.candidate_vectors(tf.constant(cold))).numpy()
    known = model.embedding.attributes.known(tf.constant(cold)).numpy()
    assert known.any() and (np.abs(after - before)[0, known] > 1e-4).all()


def test_ranking_explaining_and_keras_agree(make_prepared):
    prepared = make_prepared((6, 5, 0, 7), users=20)
    config = Config.model_validate({"model": TINY | {"name": "carca", "neighbours": 0}})
    model = shaken(network_of("carca").build(config, prepared))
    batches = evaluation_batches(prepared, "test", 8)
    ranks = rank_split(ModelScorer(model), batches, prepared.catalogue).ranks
    np.testing.assert_array_equal(
        ranks, np.concatenate([model.target_ranks(batch) for batch in batches])
    )
    batch = next(iter(batches))
    domain = int(batch["domain"][0])
    ids = (model._offsets[domain] + np.arange(model.domain_sizes[domain])).astype(np.int32)
    scorer = ModelScorer(model)
    scorer.refresh()
    scores = scorer.scores(scorer.queries(batch), int(ids[0]), len(ids))
    parts = score_parts(model, batch["items"], tf.tile(tf.constant(ids)[None], [len(scores), 1]))
    np.testing.assert_allclose(parts["network"], scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("index", ["bfloat16", "scann"])
def test_it_is_not_searched_by_dot_products(make_prepared, tmp_path, index):
    prepared = make_prepared((6, 5), users=5)
    settings = Config().evaluate
    with pytest.raises(InputError, match=rf"^--index {index}: scores of CARCA are no dot product"):
        export(small((6, 5)), prepared.catalogue, tmp_path, settings, index=index)
    assert not list(tmp_path.iterdir())


def test_nobody_asks_for_nothing():
    """As the served search does for rows that are not there, of a slice whose size is a tensor."""
    model = small()
    width = model.query_vectors(tf.constant([[1, 2]]), tf.constant([[0]])).shape[2]
    candidates = model.candidate_vectors(tf.constant([1, 2, 3]))

    @tf.function(
        input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None, candidates.shape[1]])]
    )
    def scores(queries, candidates):
        return model.candidate_scores(queries, candidates)

    assert scores(tf.zeros([0, width]), candidates).shape == (0, 3)
    queries = model.query_vectors(tf.constant([[1, 2], [0, 3]]), tf.constant([[0], [0]]))[:, 0]
    found = scores(queries, candidates)
    expected = model.candidate_scores(queries, candidates)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_slot_sees_its_own_however_little_beside_what_others_see():
    """Two sequences of one row, of which a candidate likes one far more."""
    decoder = small().decoder
    keys = tf.constant([[[100.0] * 8, [1.0] * 8]])
    values = tf.constant([[[1.0] * 8, [2.0] * 8]])
    candidates = tf.constant([[3.0] * 8 + [1.0] * 8])
    visible = tf.constant([[[True, False], [False, True]]])
    found = decoder.of_all(keys, values, visible, candidates) - decoder.bias
    expected = decoder.of_slots(
        keys, values, visible, tf.tile(candidates[None, None], [1, 2, 1, 1])
    )
    np.testing.assert_allclose(found, expected - decoder.bias, rtol=1e-4)
