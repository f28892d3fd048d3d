"""Losses: hand-computed numbers, known identities, by name or as a function."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec import losses
from tf_syncrec.layers import DomainBlocks
from tf_syncrec.losses.functions import (
    EXCLUDED,
    LOSSES,
    bce,
    bpr,
    bpr_sigmoid,
    gbce,
    sampled_softmax,
    top1,
)

RATE = tf.constant([0.1])


def scores(shape=(6,), negatives=5, seed=0):
    rng = np.random.default_rng(seed)
    return (
        tf.constant(rng.normal(0, 2, shape), tf.float32),
        tf.constant(rng.normal(0, 2, (*shape, negatives)), tf.float32),
    )


def log_sigmoid(x):
    return -np.log1p(np.exp(-np.asarray(x)))


@pytest.mark.parametrize(
    ("loss", "positive", "negative", "expected"),
    [
        # σ(2) = 0.880797, σ(-1) = 0.268941; ln(1 + exp(-0.611856))
        (bpr_sigmoid, 2.0, [-1.0], 0.433303),
        (bpr_sigmoid, 0.0, [0.0], 0.693147),
        (bpr_sigmoid, 50.0, [-50.0], 0.313262),
        (bpr_sigmoid, -50.0, [50.0], 1.313262),
        (bpr, 2.0, [-1.0], 0.048587),  # ln(1 + e^-3)
        (bpr, 1.0, [1.0, 3.0], (0.693147 + 2.126928) / 2),
        (bce, 0.0, [0.0], 2 * 0.693147),
        (bce, 1.0, [-1.0, 2.0], 0.313262 + (0.313262 + 2.126928) / 2),
        (sampled_softmax, 0.0, [0.0, 0.0, 0.0], np.log(4)),
        (sampled_softmax, 1.0, [2.0], 1.313262),  # ln(1 + e)
        (top1, 0.0, [0.0], 1.0),  # σ(0) + σ(0)
        (top1, 1.0, [-1.0, 2.0], (0.119203 + 0.731059 + 0.731059 + 0.982014) / 2),
    ],
)
def test_losses_by_hand(loss, positive, negative, expected):
    received = loss(tf.constant([positive]), tf.constant([negative]), RATE)
    np.testing.assert_allclose(received, [expected], rtol=1e-5)


def test_published_loss_is_equation_8():
    """-log σ(P⁺ - P⁻) with P = σ(y · m), and so between 0.31 and 1.31."""
    positive, negative = scores(negatives=1)
    p, n = (1 / (1 + np.exp(-x.numpy())) for x in (positive, negative[:, 0]))
    received = bpr_sigmoid(positive, negative, RATE)
    np.testing.assert_allclose(received, -log_sigmoid(p - n), rtol=1e-5)
    assert np.all((received > 0.3132) & (received < 1.3133))


def test_sampled_softmax_over_everything_is_softmax():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6, 9)).astype(np.float32)
    target = rng.integers(9, size=6)
    full = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)
    rest = np.stack([np.delete(row, t) for row, t in zip(logits, target, strict=True)])
    positive = logits[np.arange(6), target]
    np.testing.assert_allclose(sampled_softmax(positive, rest, RATE), full, rtol=1e-5)


def test_one_negative_makes_sampled_softmax_bpr():
    positive, negative = scores(negatives=1)
    np.testing.assert_allclose(
        sampled_softmax(positive, negative, RATE), bpr(positive, negative, RATE), rtol=1e-5
    )


def gsasrec(positive, negative, alpha, t):
    """gBCE as defined in Petrov and Macdonald, RecSys 2023, Eq. 6-8 and section 5.2."""
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    terms = beta * log_sigmoid(positive) + log_sigmoid(-negative.numpy()).sum(axis=-1)
    return -terms / (negative.shape[-1] + 1)


@pytest.mark.parametrize("negatives", [1, 16, 256])
def test_gbce_is_gsasrecs(negatives):
    """With its 1 / (negatives + 1): without it φ, and so λ, grows with the negatives."""
    alpha, t = 0.3, 0.75
    positive, negative = scores(negatives=negatives)
    received = gbce(positive, negative, tf.constant([alpha]), calibration=t)
    np.testing.assert_allclose(received, gsasrec(positive, negative, alpha, t), rtol=1e-4)


@pytest.mark.parametrize("t", [0.0, 0.4, 0.75, 1.0])
@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0])
def test_gbce_weighs_positive_and_negatives_like_gsasrec(alpha, t):
    """The same up to a constant factor."""
    positive, negative = scores()
    received = gbce(positive, negative, tf.constant([alpha]), calibration=t)
    ratio = received / gsasrec(positive, negative, alpha, t)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_uncalibrated_gbce_is_bce_over_all_negatives():
    positive, negative = scores()
    plain = gbce(positive, negative, RATE, calibration=0.0)
    summed = -log_sigmoid(positive) - log_sigmoid(-negative.numpy()).sum(axis=-1)
    np.testing.assert_allclose(plain / summed, plain[0] / summed[0], rtol=1e-5)
    # Every item drawn: nothing to calibrate.
    all_drawn = gbce(positive, negative, tf.constant([1.0]), calibration=0.75)
    np.testing.assert_allclose(all_drawn, plain, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_want_the_target_above_the_negatives(name):
    positive, negative = scores()
    with tf.GradientTape() as tape:
        tape.watch([positive, negative])
        loss = LOSSES[name](positive, negative, RATE)
    assert loss.shape == positive.shape
    assert np.all(loss > 0)
    up, down = tape.gradient(loss, [positive, negative])
    assert np.all(up < 0)
    # TOP1 pulls scores of negatives to 0, from below as well.
    assert np.all(down[negative > 0] > 0) if name == "top1" else np.all(down > 0)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_feels_an_excluded_item(name):
    positive, negative = scores()
    loss = LOSSES[name]
    excluded = tf.concat([negative[:, :2], tf.fill([6, 2], EXCLUDED), negative[:, 2:]], axis=1)
    with tf.GradientTape() as tape:
        tape.watch([positive, excluded])
        received = loss(positive, excluded, RATE)
    np.testing.assert_allclose(received, loss(positive, negative, RATE), rtol=1e-5)
    gradients = tape.gradient(received, [positive, excluded])
    assert np.all(gradients[1][:, 2:4] == 0)
    assert all(np.all(np.isfinite(g)) for g in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite(name):
    positive = tf.constant([-1e3, 1e3, 0.0])
    negative = tf.constant([[1e3, 1e3], [-1e3, 0.0], [EXCLUDED, EXCLUDED]])
    with tf.GradientTape() as tape:
        tape.watch([positive, negative])
        loss = LOSSES[name](positive, negative, RATE)
    assert np.all(np.isfinite(loss))
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(loss, [positive, negative]))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_a_drawn_target_is_no_negative(name, shared, make_model, make_items, monkeypatch):
    """Item 3 of a domain of three is always drawn; it must not push itself down."""
    sizes = (3, 2)
    items = make_items([4, 2], sizes, domains=[[0], [0]])
    items[items > 0] = 3
    totals = []
    for drawn in ([1, 3, 2, 3], [1, 2]):

        def sample(domains, count, offsets, sizes, seed, drawn=drawn):
            shift = tf.gather(offsets, domains)[..., None] - 1
            return tf.minimum(shift + tf.constant(drawn), 5)

        monkeypatch.setattr("tf_syncrec.losses.negatives.sample_in_domain", sample)
        model = make_model(sizes, name=name, shared_negatives=shared, negatives=len(drawn))
        totals.append(model.batch_losses(items).single)
    np.testing.assert_allclose(totals[0], totals[1], rtol=1e-5)


def over_the_whole_domain(name, logits, target):
    """A loss from its definition, against every other item of the domain, in numpy."""
    positive, rest = logits[target], np.delete(logits, target)
    p, n = 1 / (1 + np.exp(-positive)), 1 / (1 + np.exp(-rest))
    return {
        "sampled_softmax": np.log(np.exp(logits).sum()) - positive,
        "bpr": -np.mean(log_sigmoid(positive - rest)),
        "bpr_sigmoid": -np.mean(log_sigmoid(p - n)),
        "bce": -np.log(p) - np.mean(np.log(1 - n)),
        "top1": np.mean(1 / (1 + np.exp(positive - rest)) + 1 / (1 + np.exp(-(rest**2)))),
        "gbce": (-np.log(p) - np.sum(np.log(1 - n))) / logits.size,  # β = 1
    }[name]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("name", "xla"), [*((name, None) for name in LOSSES), ("gbce", False), ("gbce", True)]
)
def test_a_small_domain_has_the_loss_of_all_its_items(name, xla, shared, make_model):
    """At the limit and below it: the sampled loss is that of the whole domain, exactly."""
    sizes = (5, 7, 2)
    model = make_model(sizes, name=name, shared_negatives=shared, negatives=7)
    targets = np.array([[1, 5, 3, 0], [12, 6, 9, 9], [14, 13, 0, 0]], np.int32)
    y = np.random.default_rng(0).normal(size=(3, 4, model.dim)).astype(np.float32)
    blocks = DomainBlocks(tf.zeros([3, 4], tf.int32), targets > 0, tf.range(3), tf.range(12))

    def losses_and_gradient(y):
        with tf.GradientTape() as tape:
            tape.watch(y)
            [found] = model.target_losses([y], tf.constant(targets), blocks)
            total = tf.reduce_sum(tf.where(blocks.mask, found, 0.0))
        of_y, of_items = tape.gradient(total, [y, model.embedding.items.value])
        return found, of_y, tf.convert_to_tensor(of_items)

    if xla is not None:
        losses_and_gradient = tf.function(losses_and_gradient, jit_compile=xla)
    found, of_y, of_items = losses_and_gradient(tf.constant(y))
    scores = model.similarity(y.reshape(12, -1), model.embedding.items.value).numpy()
    first = np.cumsum((1, *sizes))
    for block, slot in np.argwhere(targets > 0):
        own = slice(first[block], first[block + 1])
        logits = scores[4 * block + slot, own].astype(np.float64)
        expected = over_the_whole_domain(name, logits, targets[block, slot] - own.start)
        np.testing.assert_allclose(found[block, slot], expected, rtol=1e-5)
    assert np.all(np.isfinite(of_y))
    assert np.all(of_items[0] == 0)  # padding learns nothing
    assert np.all(np.any(of_items[1:] != 0, axis=1))  # every item of every domain does


def test_a_domain_of_one_item_has_nothing_to_contrast(make_model, make_items):
    model = make_model((1, 4), name="sampled_softmax", mutual_information=False)
    items = make_items([5], (1, 4), domains=[[0]])
    with tf.GradientTape() as tape:
        losses = model.batch_losses(items)
    assert losses.domain_single[0] == losses.domain_cross[0] == 0
    for gradient in tape.gradient(losses.total, model.embedding.trainable_weights):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), 0, atol=1e-6)


def hinge(positive, negative, sampling_rate):
    return tf.nn.relu(1.0 - positive + tf.reduce_max(negative, axis=-1))


@keras.saving.register_keras_serializable("test")
class Hinge:
    """A loss with a setting."""

    def __init__(self, margin):
        self.margin = margin

    def __call__(self, positive, negative, sampling_rate):
        return hinge(positive - self.margin + 1.0, negative, sampling_rate)

    def get_config(self):
        return {"margin": self.margin}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.mark.parametrize(
    "loss", [*LOSSES.values(), hinge, Hinge(0.5)], ids=[*LOSSES, "function", "object"]
)
def test_a_loss_is_what_was_saved(loss, monkeypatch):
    monkeypatch.setattr(losses.functions, "LOSSES", dict(LOSSES))
    if loss is hinge:
        losses.register(hinge)
    saved = json.loads(json.dumps(losses.serialize(loss)))
    assert saved == getattr(loss, "__name__", saved)
    np.testing.assert_array_equal(losses.get(saved)(*scores(), RATE), loss(*scores(), RATE))
    # Keras alone, as in a configuration that is serialised as a whole.
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    np.testing.assert_array_equal(again(*scores(), RATE), loss(*scores(), RATE))


def test_a_function_is_its_own_loss():
    assert losses.get(hinge) is hinge


@pytest.mark.parametrize("wrong", ["hinges", 3, None])
def test_what_is_no_loss_is_refused(wrong):
    with pytest.raises(ValueError, match=r"'bce', .*Received: " + repr(wrong)):
        losses.get(wrong)
