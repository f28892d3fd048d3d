"""CMF, CLFM, DTCDR and DeepAPF: written out in numpy; who learns from what; published losses."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.published import tiny
from tf_syncrec.config import Config
from tf_syncrec.models.axes import axes_of
from tf_syncrec.models.cross_domain.users.clfm import CLFM
from tf_syncrec.models.cross_domain.users.cmf import CMF
from tf_syncrec.models.cross_domain.users.deepapf import DeepAPF
from tf_syncrec.models.cross_domain.users.dtcdr import DTCDR
from tf_syncrec.models.registry import PUBLISHED, network_of, with_network_settings

USERS = [f"user {n}" for n in range(6)]
NAMES = {"a": 5, "b": 4, "c": 3}


def made(kind, **more):
    return tiny(kind, sizes=NAMES, user_ids=USERS, **more)


def relu(x):
    return np.maximum(x, 0.0)


def vectors(model, row):
    return model.users.embeddings.numpy()[row].reshape(-1, 8)


def of_cmf(model, row, d):
    return vectors(model, row)[0]


def of_clfm(model, row, d):
    user = vectors(model, row)[d]
    return np.append(user @ model.shared_patterns.numpy(), user @ model.patterns.numpy()[d])


def tower(towers, x, d):
    w1, b1, w2, b2 = (weight.numpy()[d] for weight in towers.weights)
    return (relu(x @ w1 + b1) @ w2 + b2)[0]


def of_dtcdr(model, row, d):
    own = vectors(model, row)
    combined = {"max": own.max(axis=0), "mean": own.mean(axis=0), "concat": own.ravel()}
    return tower(model.user_towers, combined[model.combine], d)


def of_deepapf(model, row, d):
    parts = vectors(model, row)[[0, 1 + d]]
    w, b = (weight.numpy() for weight in model.hidden.weights)
    a = np.exp(relu(parts @ w + b) @ model.logit.kernel.numpy()[:, 0])
    return model.output_weights.numpy() * ((a / a.sum()) @ parts)


CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "cmf": (CMF, {"weights": {"a": 3.0, "c": 0.5}}, of_cmf),
    "clfm": (CLFM, {}, of_clfm),
    "clfm, all shared": (CLFM, {"shared": 1.0}, of_clfm),
    "clfm, nothing shared": (CLFM, {"shared": 0.0}, of_clfm),
    "dtcdr, max": (DTCDR, {}, of_dtcdr),
    "dtcdr, mean": (DTCDR, {"combine": "mean"}, of_dtcdr),
    "dtcdr, concat": (DTCDR, {"combine": "concat"}, of_dtcdr),
    "deepapf": (DeepAPF, {}, of_deepapf),
}


def test_what_weights_are_of_is_known_of_domains_with_weights_of_their_own():
    """Of CMF's α: by name, and it is still itself with an item, a user or a domain more."""
    model = made(CMF, weights={"a": 3.0, "c": 0.5})
    [users, *_] = axes_of(model, lambda network: [network.users.embeddings.shape])
    assert {axis.kind for axis in users.values()} == {"users"}


@pytest.mark.parametrize("name", CASES)
def test_what_users_look_for_is_its_equations(name):
    kind, more, literal = CASES[name]
    model = made(kind, **more)
    domains = np.array([[2, 0], [0, 1], [1, 2]], np.int32)
    rows = np.array([3, 0, 5])
    found = model.user_vectors(rows, domains)
    expected = [[literal(model, r, d) for d in ds] for r, ds in zip(rows, domains, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # In training, of the domain of each target; padding may be anything.
    slots = np.array([[0, 0, 2], [1, 2, 0], [-1, 0, 0]], np.int32)
    found = model.representations(tf.constant(rows), tf.constant(slots))
    for i, j in zip(*np.nonzero(slots >= 0), strict=True):
        expected = literal(model, rows[i], slots[i, j])
        np.testing.assert_allclose(found[i, j], expected, rtol=1e-4, atol=1e-5)


def test_items_of_dtcdr_are_read_by_the_tower_of_their_domain():
    model = made(DTCDR)
    table = model.embedding.items.numpy()
    ids = np.array([[1, 12], [6, 5], [9, 10]])
    domains = np.array([[0, 2], [1, 0], [1, 2]])
    expected = [
        [tower(model.item_towers, table[i], d) for i, d in zip(*row, strict=True)]
        for row in zip(ids, domains, strict=True)
    ]
    np.testing.assert_allclose(model.candidate_vectors(ids), expected, rtol=1e-4, atol=1e-5)
    (whole,) = model.item_tables()
    np.testing.assert_allclose(whole.numpy()[ids], expected, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------ gradients


@pytest.fixture
def batch(make_items):
    """Somebody who has had items of the last domain alone."""
    return {"items": make_items([6], domains=[[2]]), "user_id": tf.constant(["user 1"])}


def gradients(model, batch):
    with tf.GradientTape() as tape:
        loss = model.batch_losses(**batch).total
    weights = model.trainable_weights
    found = zip(weights, tape.gradient(loss, weights), strict=True)
    return {w.path: np.zeros(w.shape) if g is None else tf.convert_to_tensor(g) for w, g in found}


def of_users(model, found):
    """Size of the gradient by user and vector."""
    gradient = np.asarray(found[model.users.embeddings.path])
    return np.abs(gradient).reshape(len(USERS) + 1, -1, 8).max(axis=2)


@pytest.mark.parametrize(
    ("kind", "learning"),
    [(CMF, [0]), (CLFM, [2]), (DeepAPF, [0, 3]), (DTCDR, [0, 1, 2])],
)
def test_which_vectors_of_a_user_learn_from_a_domain(kind, learning, batch):
    """CLFM's that of the domain; DeepAPF's common one and that of the domain; DTCDR's all."""
    model = made(kind)
    found = gradients(model, batch)
    sizes = of_users(model, found)
    assert (sizes[[0, 2, 3, 4, 5, 6]] == 0).all(), "of somebody else"
    assert np.flatnonzero(sizes[1]).tolist() == learning
    items = np.abs(found[model.embedding.items.path]).max(axis=1)
    assert (items[:10] == 0).all() and items[10:].any()
    if kind is CLFM:
        own = np.abs(found[model.patterns.path]).max(axis=(1, 2))
        assert (own[:2] == 0).all() and own[2] > 0
        assert np.any(found[model.shared_patterns.path])
    if kind is DTCDR:
        for towers in (model.user_towers, model.item_towers):
            own = np.abs(found[towers.w1.path]).max(axis=(1, 2))
            assert (own[:2] == 0).all() and own[2] > 0


def test_with_max_a_number_of_the_user_learns_in_one_domain():
    model = made(DTCDR)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(model.of_domains(tf.constant([1])))
    gradient = tf.convert_to_tensor(tape.gradient(y, model.users.embeddings.value)).numpy()
    learning = gradient[1].reshape(3, 8) != 0
    largest = vectors(model, 1).argmax(axis=0)
    np.testing.assert_array_equal(learning, np.arange(3)[:, None] == largest)


def test_attention_is_a_share_of_two_and_of_equals_a_half():
    model = made(DeepAPF)
    parts = np.random.default_rng(0).normal(size=(5, 4, 8)).astype(np.float32)
    parts[0, 1] = parts[0, 0]
    weights = model.attention(tf.constant(parts)).numpy()
    assert weights.shape == (5, 3, 2) and (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights[0, 0], 0.5, rtol=1e-6)
    assert np.abs(weights - 0.5).max() > 0.01


# -------------------------------------------------------------------------------- CMF's relations


def test_a_relation_weighs_alpha_however_many_entries_it_has(make_items, same_negatives):
    """The loss is the weighted mean of what each domain alone would cost."""
    alphas = {"a": 2.0, "b": 1.0, "c": 5.0}
    model = made(CMF, weights=alphas)
    users = tf.constant(["user 1", "user 4", "user 0"])
    items = make_items([7, 2, 3], domains=[[0], [1], [2]], seed=1)
    total = float(model.batch_losses(items, user_id=users).total)
    alone = [
        float(model.batch_losses(items[[d]], user_id=users[d : d + 1]).total) for d in range(3)
    ]  # each already with its α
    assert total == pytest.approx(sum(alone), rel=1e-5)
    equal = made(CMF)
    means = [
        3 * float(equal.batch_losses(items[[d]], user_id=users[d : d + 1]).total) for d in range(3)
    ]
    expected = sum(alphas[n] * mean for n, mean in zip("abc", means, strict=True)) / 8
    assert total == pytest.approx(expected, rel=1e-5)


def test_a_relation_that_weighs_nothing_teaches_nothing(batch):
    found = gradients(made(CMF, weights={"c": 0.0}), batch)
    assert not any(np.any(gradient) for gradient in found.values())


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        (CMF, {"weights": {"d": 1.0}}, "weights must be of the domains a, b, c"),
        (CMF, {"weights": {"a": -1.0}}, "none below 0"),
        (CMF, {"weights": dict.fromkeys("abc", 0.0)}, "one above"),
        (CLFM, {"shared": 1.5}, "shared must be from 0 to 1. Received: 1.5"),
        (DTCDR, {"combine": "sum"}, "combine must be one of max, mean, concat"),
    ],
)
def test_wrong_arguments_are_refused(kind, more, message):
    with pytest.raises(ValueError, match=message):
        made(kind, **more)


BCE = ("cmf", "clfm", "dtcdr", "deepapf", "bitgcf", "cgrec", "tri_cdr")


@pytest.mark.parametrize(
    ("name", "loss"),
    [*((name, "bce") for name in BCE), ("cat_art", "bpr"), ("gru4rec", "top1")],
)
def test_a_network_as_it_was_published_differs_in_loss_and_score_alone(name, loss, make_prepared):
    config = Config.model_validate({"model": {"name": name + PUBLISHED, "dim": 4}})
    config = with_network_settings(config)
    found = network_of(config.model.name).build(config, make_prepared(users=4)).get_config()
    config = Config.model_validate({"model": {"dim": 4}})
    ours = network_of(name).build(config, make_prepared(users=4))
    changed = {key for key, value in ours.get_config().items() if found[key] != value}
    own = {"count": 1, "shared": False} if loss != "top1" else {"count": 256, "shared": True}
    assert changed - {"negatives"} == {"name", "loss", "similarity", "temperature"}
    assert (found["loss"], found["similarity"], found["temperature"]) == (loss, "dot", 1.0)
    assert found["negatives"]["config"] == own
