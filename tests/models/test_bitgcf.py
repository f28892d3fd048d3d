"""BiTGCF: propagation and transfer, written out densely; who hears of whom."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.published import tiny
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.models.cross_domain.users.bitgcf import BiTGCF
from tf_syncrec.models.cross_domain.users.graph import pairs_of
from tf_syncrec.models.cross_domain.users.transfer import transferred

SIZES = (5, 4, 3)
OFFSETS = (1, 6, 10)
USERS = [f"user {n}" for n in range(6)]
PAIRS = np.array(
    # user 0 of all domains, 1 and 2 of two, 3 and 4 of one, 5 of none
    [
        *([0, 0, 0], [0, 0, 2], [0, 1, 1], [0, 2, 0], [1, 0, 2], [1, 1, 1], [1, 1, 3]),
        *([2, 1, 0], [2, 2, 0], [2, 2, 1], [3, 0, 1], [3, 0, 4], [4, 2, 1], [4, 2, 2]),
    ],
    np.int32,
)


def made(pairs=PAIRS, sizes=SIZES, **more):
    return tiny(BiTGCF, sizes=sizes, user_ids=USERS, pairs=pairs, **{"own_share": 0.7} | more)


def unit(x):
    return x / np.sqrt(np.maximum((x**2).sum(axis=-1, keepdims=True), 1e-12))


def literal(model, pairs=PAIRS):
    """Vectors of all users and items, by dense matrices of each domain."""
    rows, count = len(USERS) + 1, model.num_domains
    users = model.users.embeddings.numpy().reshape(rows, count, 8).copy()
    items = model.embedding.items.numpy()
    had = np.zeros((rows, count))
    matrices = []
    for d, size in enumerate(model.domain_sizes):
        matrix = np.zeros((rows, size))
        for user, domain, place in pairs:
            if domain == d:
                matrix[user, place] = 1.0
        had[:, d] = matrix.sum(axis=1)
        n_i = np.maximum(matrix.sum(axis=0), 1.0)
        n_u = np.maximum(had[:, d], 1.0)
        matrices.append(matrix / np.sqrt(n_u[:, None] * n_i))

    def common(users, u):
        return (had[u][:, None] * users[u]).sum(axis=0) / had[u].sum()

    for u in range(rows):
        for d in range(count):
            if had[u, d] == 0 and had[u].sum() > 0:
                users[u, d] = common(model.users.embeddings.numpy().reshape(rows, count, 8), u)
    of_layers = [(users, items)]
    for _ in range(model.blocks):
        new_users, new_items = users.copy(), items.copy()
        first = 1
        for d, size in enumerate(model.domain_sizes):
            own = items[first : first + size]
            near = matrices[d] @ own
            new_users[:, d] = users[:, d] + near + near * users[:, d]
            near = matrices[d].T @ users[:, d]
            new_items[first : first + size] = own + near + near * own
            first += size
        users, items = new_users.copy(), new_items
        for u in range(rows):
            if had[u].sum() == 0:
                continue
            both = common(new_users, u)
            for d in range(count):
                others = [e for e in range(count) if e != d and had[u, e] > 0]
                if had[u, d] == 0:
                    users[u, d] = both
                elif others:
                    other = np.mean([new_users[u, e] for e in others], axis=0)
                    specific = 0.7 * new_users[u, d] + 0.3 * other
                    users[u, d] = (specific + both) / 2
        of_layers.append((unit(users), unit(items)))
    every_user, every_item = zip(*of_layers, strict=True)
    return np.concatenate(every_user, axis=-1), np.concatenate(every_item, axis=-1)


def near(received, expected):
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_it_is_its_equations(blocks):
    model = made(blocks=blocks)
    users, items = literal(model)
    for found, expected in zip(model.propagated(), (users, items), strict=True):
        near(found, expected)
    rows, domains = np.array([3, 0, 6]), np.array([[0, 2], [1, 0], [2, 1]], np.int32)
    near(model.user_vectors(rows, domains), users[rows[:, None], domains])
    near(model.candidate_vectors(tf.range(13)), items)


def test_with_two_domains_it_is_the_layer_of_the_paper():
    """λ of each, and shares by the numbers of items."""
    pairs = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 1], [1, 0, 0]], np.int32)
    model = made(pairs, sizes=(5, 4), blocks=1)
    a, b = model.users.embeddings.numpy()[0].reshape(2, 8)
    items = model.embedding.items.numpy()
    near_a = (items[1] / np.sqrt(3 * 2)) + (items[2] + items[3]) / np.sqrt(3)
    near_b = items[7]
    a, b = a + near_a + near_a * a, b + near_b + near_b * b
    common = (3 * a + b) / 4
    expected = [(0.7 * x + 0.3 * y + common) / 2 for x, y in ((a, b), (b, a))]
    near(model.propagated()[0].numpy()[0, :, 8:], unit(np.array(expected)))


def test_users_of_one_domain_are_transferred_nothing():
    """There they stay what they are; elsewhere, and who has had nothing, see the docstring."""
    users = np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float32)
    counts = np.array([[2, 0, 0], [0, 0, 5], [0, 0, 0], [3, 1, 0]], np.float32)
    found = transferred(users, counts, 0.7).numpy()
    for user, own in ((0, 0), (1, 2)):
        np.testing.assert_array_equal(found[user, own], users[user, own])
        near(found[user], np.tile(users[user, own], (3, 1)))
    np.testing.assert_array_equal(found[2], users[2])
    assert np.abs(found[3, :2] - users[3, :2]).max(axis=1).min() > 0.1
    near(found[3, 2], (3 * users[3, 0] + users[3, 1]) / 4)


def test_what_a_user_is_elsewhere_reaches_those_of_several_domains_alone():
    model = made(blocks=2)
    before = model.propagated()[0].numpy()
    users = model.users.embeddings.numpy()
    for user, reached in ((3, False), (1, True)):  # both have items of the first domain
        changed = users.copy()
        changed[user, 8:16] += 1.0
        model.users.embeddings.assign(changed)
        moved = model.propagated()[0].numpy()[user, 0] - before[user, 0]
        assert (np.abs(moved).max() > 1e-3) if reached else (moved == 0).all()


def test_what_nobody_has_had_learns_nothing_from_the_graph():
    model = made(blocks=2)
    weights = [model.users.embeddings, model.embedding.items]
    with tf.GradientTape() as tape:
        users, items = model.propagated()
        loss = tf.reduce_sum(users[0] * 3.0) + tf.reduce_sum(items[1])
    of_users, of_items = (tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, weights))
    of_users = np.abs(of_users).reshape(len(USERS) + 1, 3, 8).max(axis=2)
    assert (of_users[[5, 6]] == 0).all()
    assert of_users[1, 1] > 0 and of_users[3, 0] == 0, "user 3 shares no item with user 0"
    assert of_users[1, 2] == 0, "nobody knows them there"
    had = {OFFSETS[d] + p for _, d, p in PAIRS}
    for item in range(1, 13):
        if item not in had:
            assert (of_items[item] == 0).all()
    assert of_items[1].any() and of_items[10].any()


def test_all_is_propagated_once_in_a_step(monkeypatch):
    model = made(blocks=2)
    calls = []
    propagated = model.propagated

    def counted(training=None):
        calls.append(training)
        return propagated(training)

    monkeypatch.setattr(model, "propagated", counted)
    items = tf.constant([[1, 3, 7, 10]])
    model.batch_losses(items, user_id=tf.constant(["user 0"]))
    assert calls == [True]
    calls.clear()
    asked = {"items": items, "domain": tf.constant([0]), "user_id": tf.constant(["user 0"])}
    scorer = ModelScorer(model)
    with model.at_rest(), model.at_rest():
        scorer.refresh()
        resting = model(asked), model.candidate_vectors(items), scorer.products(model(asked), 1, 5)
    assert calls == [None]
    scorer.refresh()
    moved = model(asked), model.candidate_vectors(items), scorer.products(model(asked), 1, 5)
    for ours, theirs in zip(resting, moved, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    model.users.embeddings.assign(model.users.embeddings + 0.5)
    assert np.abs(model(asked) - resting[0]).max() > 1e-3, "no longer at rest"


def test_items_learn_by_their_attributes_alone_where_their_own_part_is_dropped():
    """Of the items that a step propagates, those of which something is known."""
    model = made(blocks=1, attributes={"size": 2, "per_item": 1}, own_dropout=0.999)
    ids = np.array([[0], *[[1], [2]] * 5, [0], [0]], np.int32)  # of 11 and 12 nothing is known
    model.embedding.set_attributes(ids, (ids > 0).astype(np.float32))
    for training, dropped in ((True, True), (None, False)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.propagated(training)[1] ** 3)
        moved = tf.convert_to_tensor(tape.gradient(loss, model.embedding.items.value)).numpy()
        assert moved[1:11].any() != dropped and moved[11:].any(axis=1).all()


def test_what_is_served_says_the_same_and_knows_no_graph():
    model = made(blocks=2, likeness=0, trend=True)
    model.trend.gain.assign(np.arange(13, dtype=np.float32))
    plain = model.plain()
    assert plain.graph.num_pairs == 0 and plain.blocks == 0 and plain.plain() is plain
    rows, domains = tf.range(7), tf.tile([[0, 1, 2]], [7, 1])
    near(plain.user_vectors(rows, domains), model.user_vectors(rows, domains))
    near(plain.candidate_vectors(tf.range(13)), model.candidate_vectors(tf.range(13)))
    np.testing.assert_array_equal(plain.trend.gain, model.trend.gain)


def test_the_graph_is_that_of_the_training_and_is_saved(make_prepared, tmp_path):
    prepared = make_prepared(sizes=(12, 5, 20), users=30)
    users, pairs = pairs_of(prepared)
    offsets = np.array([1, 13, 18])
    expected = {
        (row["user_id"], int(item)) for row in prepared.splits["train"] for item in row["items"]
    }
    assert {(users[u], int(offsets[d] + p)) for u, d, p in pairs} == expected
    assert len(pairs) == len(expected)
    sizes = dict(zip(prepared.catalogue.domains, (12, 5, 20), strict=True))
    model = BiTGCF(sizes, users, pairs=pairs, dim=4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.graph.pairs, pairs)
    for ours, theirs in zip(model.propagated(), loaded.propagated(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(weight is not model.graph.pairs for weight in model.learned)


def test_steps_lower_the_loss(same_negatives):
    model = made(blocks=1)
    batch = {"items": tf.constant([[1, 3, 7, 10], [0, 8, 9, 7]]), "user_id": tf.constant(USERS[:2])}
    model.compile(keras.optimizers.Adam(0.01))
    before = model.batch_losses(**batch, training=False).total
    for _ in range(3):
        model.train_step(batch)
    assert model.batch_losses(**batch, training=False).total < 0.98 * before
