"""Tri-CDR: one attention over three sequences, written out, and what is contrasted."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_man import encoded, pair_score, softmax
from tests.support.published import domain_of, embed, gradients, next_of_domain, norm, tiny
from tf_syncrec.models.cross_domain.two_domains import triple_contrast
from tf_syncrec.models.cross_domain.two_domains.tri_cdr import TriCDR
from tf_syncrec.models.cross_domain.two_domains.triple_contrast import alike, told_apart

ASKED = np.array([[2, 0, 1]], np.int32)


def small(sizes=(5, 4, 3), **more):
    return tiny(TriCDR, sizes, blocks=1, **more)


def layers(weights, which, x, activation):
    w1, b1, w2, b2 = (weight.numpy()[which] for weight in weights)
    return activation(x @ w1 + b1[0]) @ w2 + b2[0]


def literal(model, history, d):
    """z of the three sequences, and the representation: each state of a sequence of its own."""
    rows = embed(model, history, 0)
    mixed = encoded(model.mixed_encoder, rows)[0]
    domains = [domain_of(item) for item in history]
    own: dict[int, np.ndarray] = {}
    for e in set(domains):
        places = [1 + place for place, domain in enumerate(domains) if domain == e]
        states = encoded(model.domain_encoders, rows[places])[e]
        own |= dict(zip(places, states, strict=True))
    of_target = [own[1 + place] for place, domain in enumerate(domains) if domain == d]
    of_source = [own[1 + place] for place, domain in enumerate(domains) if domain != d]
    start = norm(model.embedding.start_tokens.numpy()[1 + d])
    q, m = of_target[-1] if of_target else start, mixed.mean(axis=0)
    found = []
    for states in (mixed, of_source, of_target):
        if len(states):
            scores = np.array([pair_score(model.scores, q, state, m) for state in states])
            found.append(softmax(scores) @ np.array(states))
        else:
            found.append(np.zeros(8))

    def leaky(x):
        return np.where(x > 0, x, 0.01 * x)

    return found, layers(model.reading.weights, d, np.concatenate(found), leaky)


def test_triple_attention_is_its_equations():
    model = small()
    for history in ([], [3], [3, 7, 12, 1], [6, 9, 8], [10, 2, 7, 11, 5]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        queries = model.query_vectors(batch, ASKED)[0]
        for query, d in zip(queries, (2, 0, 1), strict=True):
            expected = literal(model, history, d)[1]
            np.testing.assert_allclose(query, expected, rtol=1e-3, atol=1e-4)


def test_where_the_source_is_not_read_other_items_matter_as_mixed_ones_alone():
    model = small()
    kernel = model.reading.w1.numpy()
    kernel[:, :8] = 0.0  # of the mixed sequence

    def of_first(items):
        return model.query_vectors(np.array([items], np.int32), ASKED[:, 1:2]).numpy()

    model.reading.w1.assign(kernel)
    # What others had still says how attention is shared out, by m.
    assert np.abs(of_first([3, 7, 1]) - of_first([3, 8, 1])).max() > 1e-4
    kernel[:, 8:16] = 0.0
    model.reading.w1.assign(kernel)
    first, *rest = tf.split(model.scores.w1, 5, axis=0)
    model.scores.w1.assign(tf.concat([first, *rest[:3], tf.zeros_like(first)], axis=0))
    np.testing.assert_allclose(of_first([3, 7, 1]), of_first([3, 8, 1]), atol=1e-6)
    assert np.abs(of_first([3, 7, 1]) - of_first([2, 7, 1])).max() > 1e-4


def test_each_view_has_to_be_found_among_all_others_who_are_there():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 2, 5, 3)).astype(np.float32)
    valid = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 1, 0]], bool)
    found = alike(first, second, tf.constant(valid), 0.5)
    there = np.flatnonzero(valid[0])
    rows = np.concatenate([first[0, there], second[0, there]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = np.exp(rows @ rows.T / 0.5)
    for place, user in enumerate(there):
        costs = [
            -np.log(scores[i, j] / (scores[i].sum() - scores[i, i]))
            for i, j in ((place, place + 4), (place + 4, place))
        ]
        assert found[0, user].numpy() == pytest.approx(np.mean(costs), rel=1e-4)
    assert found[1, 3].numpy() == pytest.approx(0.0, abs=1e-5)  # nobody to be taken for


def test_the_source_is_to_be_closer_to_the_mixed_sequence_by_a_margin():
    source = np.zeros((3, 2), np.float32)
    mixed = np.array([[0.0, 1.0], [3.0, 0.0], [0.0, 0.0]], np.float32)
    target = np.array([[5.0, 0.0], [0.0, 2.0], [0.5, 0.0]], np.float32)
    np.testing.assert_allclose(told_apart(mixed, source, target, 1.0), [0.0, 2.0, 0.5], atol=1e-5)


def test_the_last_target_of_each_domain_is_contrasted():
    """Of users who have items of the domain and of others before it."""
    model = small()
    items = np.array([[1, 7, 10, 2, 8, 11], [3, 11, 4, 12, 5, 10], [0, 0, 6, 8, 7, 9]], np.int32)
    expected: dict[str, list[float]] = {"coarse": [], "fine": []}
    users = 0
    for d in range(3):
        z = []
        for row in items:
            history = row[row > 0].tolist()
            places = [place for place, item in enumerate(history) if domain_of(item) == d]
            before = history[: places[-1]] if places else []
            domains = {domain_of(item) for item in before}
            if d in domains and len(domains) > 1:
                found = slots(model, items, row, len(history) - places[-1])
                z.append(
                    [
                        layers(model.contrast.projections.weights, kind, x, relu)
                        for kind, x in enumerate(found)
                    ]
                )
        if not z:
            continue
        users += len(z)
        mixed, source, target = (np.array(each, np.float32)[None] for each in zip(*z, strict=True))
        there = tf.ones([1, len(z)], tf.bool)
        for pair in ((mixed, source), (mixed, target), (source, target)):
            expected["coarse"].append(alike(*pair, there, 0.1).numpy().sum() / 3)
        expected["fine"].append(told_apart(mixed, source, target, 1.0).numpy().sum())
    assert users == 5
    losses = model.batch_losses(items, training=False)
    for kind, costs in expected.items():
        np.testing.assert_allclose(getattr(losses, kind), sum(costs) / users, rtol=1e-3)
    parts = losses.prediction + losses.encoders + losses.coarse + losses.fine
    np.testing.assert_allclose(losses.total, parts, rtol=1e-6)


@pytest.mark.parametrize("most", [2, 3, 100])
def test_many_users_are_contrasted_in_groups(most, monkeypatch):
    """Groups are about as large as each other, everybody is in one, and with enough room in one."""
    rng = np.random.default_rng(0)
    domains = np.array([[0], [0], [1], [0], [0], [0], [1]])  # 5 users of one, 2 of the other
    found = rng.normal(size=(3, 7, 1, 4)).astype(np.float32)
    view = SimpleNamespace(segments=tf.range(7)[:, None], domains=tf.constant(domains, tf.int32))
    layer = triple_contrast.TripleContrast(2, 4, contrasted=most)
    layer.build()
    shapes = []

    def watched(first, second, valid, temperature):
        shapes.append(first.shape[1])
        return alike(first, second, valid, temperature)

    monkeypatch.setattr(triple_contrast, "alike", watched)
    coarse, _ = layer(list(map(tf.constant, found)), [tf.ones([7, 1], tf.bool)] * 3, view=view)
    groups = {2: [[0, 4], [1, 5], [3], [2], [6]], 3: [[0, 3, 5], [1, 4], [2], [6]]}
    groups |= {100: [[0, 1, 3, 4, 5], [2, 6]]}
    assert shapes == [max(map(len, groups[most]))] * 3
    expected = 0.0
    for users in groups[most]:
        z = [layers(layer.projections.weights, k, found[k, users, 0], relu) for k in range(3)]
        there = np.ones((1, len(users)), bool)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            expected += alike(z[a][None], z[b][None], tf.constant(there), 0.1).numpy().sum() / 3
    np.testing.assert_allclose(coarse, expected / 7, rtol=1e-4)


def relu(x):
    return np.maximum(x, 0)


def slots(model, items, row, from_the_end):
    """The three z at a slot of a training batch, of `attended`."""
    view, _ = model.training_views(tf.constant(items))
    found, _, _ = model.attended(view, view.domains, view.mask)
    user = next(place for place, other in enumerate(items) if (other == row).all())
    return [each.numpy()[user, -from_the_end] for each in found]


def test_outputs_learn_from_their_domain_and_weights_weigh(make_items):
    model = small(negatives=2, coarse=0.0, fine=0.0)
    items = make_items([6, 5, 6, 6], domains=[[0, 2]] * 4)
    found = gradients(model, items)
    for weight in model.reading.weights:
        by_domain = np.abs(found[weight.path]).max(axis=(1, 2))
        assert by_domain[1] == 0.0 and by_domain[[0, 2]].min() > 1e-6
    assert all(
        np.abs(found[weight.path]).max() == 0.0 for weight in model.contrast.projections.weights
    )
    model.coarse = 1.0
    found = gradients(model, items)
    assert np.abs(found[model.contrast.projections.w1.path]).max(axis=(1, 2)).min() > 1e-6


def test_a_later_item_changes_no_earlier_attention(make_items):
    model = small()
    items = make_items([6, 5])
    other = items.copy()
    other[:, 3] = next_of_domain(items[:, 3])
    found = []
    for batch in (items, other):
        view, _ = model.training_views(tf.constant(batch))
        found.append(model.attended(view, view.domains, view.mask)[0])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one[:, :4], two[:, :4])
    assert max(np.abs(a - b)[:, 4:].max() for a, b in zip(*found, strict=True)) > 1e-3
