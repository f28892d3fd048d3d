"""CAT-ART: attention over domains, written out; who learns from what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.published import tiny
from tf_syncrec.models.cross_domain.users.cat_art import CATART, contrast

USERS = [f"user {n}" for n in range(6)]


def made(seed=0, **more):
    return tiny(CATART, seed=seed, user_ids=USERS, **more)


def through(layers, x):
    for layer in layers:
        weights = [weight.numpy() for weight in layer.weights]
        dense = len(weights) == 2
        x = x @ weights[0] + weights[1] if dense else np.where(x > 0, x, weights[0] * x)
    return x


def literal(model, user, d):
    """What a user looks for in domain d."""
    vectors = model.users.embeddings.numpy()[USERS.index(user)].reshape(3, 8)
    adapters = model.adapters.numpy()
    sources = [through(model.autoencoder.encoder, vectors.ravel()) @ adapters[0]]
    sources += [vectors[e] @ adapters[1 + e] for e in range(3) if e != d]
    w_q, w_k, w_v, w_out = (
        dense.kernel.numpy().reshape(8, 8)
        for dense in (
            model.attention.query_dense,
            model.attention.key_dense,
            model.attention.value_dense,
            model.attention.output_dense,
        )
    )
    logits = np.array([(x @ w_k) @ (vectors[d] @ w_q) / np.sqrt(8) for x in sources])
    weights = np.exp(logits - logits.max())
    found = (weights / weights.sum()) @ (np.array(sources) @ w_v)
    return vectors[d] + found @ w_out


def near(received, expected):
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_it_is_its_equations():
    model = made()
    users = ["user 3", "user 0", "user 5"]
    inputs = {"user_id": tf.constant(users), "domain": tf.constant([2, 0, 1])}
    inputs["items"] = tf.zeros([3, 0], tf.int32)
    every = model.domain_queries(inputs)
    for row, (user, d) in enumerate(zip(users, (2, 0, 1), strict=True)):
        near(model(inputs)[row], literal(model, user, d))
        for e in range(3):
            near(every[row, e], literal(model, user, e))


@pytest.fixture
def batch(make_items):
    """A user of the first and last domain, and one of the last."""
    items = make_items([6, 4], domains=[[0, 2], [2]])
    return {"items": items, "user_id": tf.constant(["user 1", "user 4"])}


def test_vectors_of_a_domain_learn_from_its_targets_and_the_autoencoder_from_itself(batch):
    model = made(mask_rate=0.7)
    with tf.GradientTape(persistent=True) as tape:
        losses = model.batch_losses(**batch)
        own = losses.reconstruction + losses.contrast
    np.testing.assert_allclose(losses.total, losses.prediction + own, rtol=1e-6)

    gradient = tf.convert_to_tensor(tape.gradient(losses.prediction, model.users.embeddings.value))
    size = np.abs(gradient).reshape(len(USERS) + 1, 3, 8).max(axis=2)
    assert np.flatnonzero(size.max(axis=1)).tolist() == [1, 4]
    np.testing.assert_array_equal(size[[1, 4]] > 1e-6, [[True, False, True], [False, False, True]])
    assert (size[4, :2] == 0).all() and size[1, 1] == 0, "nothing was to be predicted there"

    cat = model.autoencoder.trainable_weights
    assert all(each is None for each in tape.gradient(losses.prediction, cat))
    for weight, each in zip(cat, tape.gradient(own, cat), strict=True):
        assert each is not None and np.abs(each).max() > 1e-7, weight.path
    others = [w for w in model.trainable_weights if id(w) not in {id(part) for part in cat}]
    assert all(each is None for each in tape.gradient(own, others))


def test_users_are_contrasted_with_others_alone():
    """Both directions of InfoNCE; a user who is there twice is not their own negative."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 8)).astype(np.float32)
    rows = np.array([0, 1, 2, 1], np.int32)

    def unit(x):
        return x / np.linalg.norm(x)

    expected = []
    for i in range(4):
        others = [j for j in range(4) if j == i or rows[j] != rows[i]]
        of_a = [np.exp(unit(a[i]) @ unit(b[j]) / 0.1) for j in others]
        of_b = [np.exp(unit(b[i]) @ unit(a[j]) / 0.1) for j in others]
        own = np.exp(unit(a[i]) @ unit(b[i]) / 0.1)
        expected.append(-(np.log(own / sum(of_a)) + np.log(own / sum(of_b))) / 2)
    np.testing.assert_allclose(contrast(a, b, rows), expected, rtol=1e-4)


def test_hidden_domains_say_nothing(batch):
    """With all of them hidden all users look alike: the contrast is that of chance."""
    model = made(mask_rate=0.999999)
    found = float(model.batch_losses(**batch).contrast)
    model.autoencoder.mask_rate = 0.0
    whole = float(model.batch_losses(**batch).contrast)
    assert found > np.log(2) - 1e-4 and whole < found
    assert whole == float(model.batch_losses(**batch, training=False).contrast)


def test_steps_lower_the_loss(batch, same_negatives):
    model = made()
    model.compile(keras.optimizers.Adam(0.01))
    before = model.batch_losses(**batch, training=False).total
    for _ in range(2):
        model.train_step(batch)
    assert model.batch_losses(**batch, training=False).total < 0.98 * before
