"""Activations in bfloat16, everything that is added up or kept in float32."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.networks import each
from tf_syncrec.config import Config
from tf_syncrec.layers import Similarity, Tower
from tf_syncrec.layers.experts import EPSILON
from tf_syncrec.layers.mutual_information import pool_by_domain
from tf_syncrec.models.registry import NETWORKS
from tf_syncrec.training.optimizers import optimizer_of


@pytest.fixture
def half(make_model):
    """`half(**settings)`: the model of `make_model`, computing in bfloat16."""
    return functools.partial(make_model, precision="mixed_bfloat16")


@pytest.mark.parametrize("style", ["pre_norm", "paper"])
@pytest.mark.parametrize("gate", ["causal", "sequence"])
def test_losses_are_nearly_those_of_float32(
    style, gate, half, make_model, make_items, same_negatives
):
    items = make_items([6, 4, 5])
    settings = {"style": style, "gate": gate, "blocks": 2, "heads": 2}
    whole, halved = (make(**settings).batch_losses(items) for make in (make_model, half))
    for name, loss in whole._asdict().items():
        other = getattr(halved, name)
        assert other.dtype == loss.dtype in (tf.float32, tf.bool)
        if loss.dtype == tf.float32:
            np.testing.assert_allclose(other, loss, rtol=0.05, atol=0.05, err_msg=name)
    assert float(whole.total) != float(halved.total)


def test_weights_and_predictions_are_float32(half, make_items):
    model = half()
    items, domains = make_items([6, 4]), tf.constant([[0, 1], [2, 0]])
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    for made in (
        model.query_vectors(items, domains),
        model.candidate_vectors(np.arange(model.num_items + 1)),
        *model.gate_weights(items, domains),
    ):
        assert made.dtype == tf.float32


def test_a_perfect_match_scores_one_over_the_temperature():
    """With scores in bfloat16 it is anything from 9.875 to 10.06."""
    similarity = Similarity("cosine", temperature=0.1, dtype="mixed_bfloat16")
    y = tf.cast(tf.random.stateless_normal([1, 500, 64], [0, 1]), tf.bfloat16)
    scores = tf.reduce_sum(similarity.query(y) * similarity.candidate(y), axis=-1)
    np.testing.assert_allclose(scores, 10.0, atol=1e-3)
    # Called as a layer, which hands on bfloat16.
    np.testing.assert_allclose(tf.linalg.diag_part(similarity(y, y)), 10.0, atol=1e-3)


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_normalisation_is_as_exact_as_that_of_keras(mean):
    """A tower whose network gives 0 is its normalisation."""
    x = tf.cast(tf.random.stateless_normal([3, 5, 64], [0, 1]) + mean, tf.bfloat16)
    layer = Tower(1, 64, dtype="mixed_bfloat16")
    layer.build(None)
    for weight in (layer.w2, layer.b2):
        weight.assign(tf.zeros_like(weight))
    scale, offset = tf.unstack(tf.random.stateless_normal([2, 64], [2, 3]))
    layer.scale.assign(scale[None, None])
    layer.offset.assign(offset[None, None])
    normalisation = keras.layers.LayerNormalization(epsilon=EPSILON, dtype="mixed_bfloat16")
    normalisation.build(x.shape)
    normalisation.set_weights([scale, offset])
    exact = np.asarray(x, np.float64)
    exact -= exact.mean(-1, keepdims=True)
    exact /= np.sqrt(np.square(exact).mean(-1, keepdims=True) + EPSILON)
    exact = exact * np.asarray(scale) + np.asarray(offset)
    ours, theirs = (
        np.abs(np.asarray(y, np.float64) - exact).max() for y in (layer(x, None), normalisation(x))
    )
    assert ours <= theirs < 0.04


def test_means_of_many_slots_are_added_up_in_float32():
    """In bfloat16 a sum of ones ends at 256."""
    slots = tf.zeros([1, 400], tf.int32)
    means, _ = pool_by_domain(tf.ones([1, 400, 2], tf.bfloat16), slots, slots, 1)
    np.testing.assert_array_equal(means, [[[1.0, 1.0]]])


@pytest.mark.slow
@pytest.mark.parametrize("name", each(sorted(name for name in NETWORKS if "without" not in name)))
def test_every_network_trains(name, make_prepared):
    config = Config()
    config.model.dim, config.model.window, config.loss.negatives = 8, 6, 3
    config.train.precision = "mixed_bfloat16"
    model = NETWORKS[name].build(config, make_prepared(sizes=(5, 4), users=2))
    model.compile(optimizer_of("rowwise_adam", 0.05))
    batch = {"items": tf.constant([[1, 6, 2, 7], [0, 3, 8, 9]])}
    if model.batch_layout == "packed":
        batch["segments"] = tf.where(batch["items"] > 0, [[0], [1]], -1)
    elif model.batch_layout == "users":
        batch["user_id"] = tf.constant(["user 0", "user 1"])
    step = tf.function(model.train_step)
    losses = [float(step(batch)["loss"]) for _ in range(40)]
    assert all(np.isfinite(losses)) and np.mean(losses[-10:]) < np.mean(losses[:5])
