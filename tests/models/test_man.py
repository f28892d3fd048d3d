"""MAN: three attentions, written out slot by slot; groups have no order and share everybody."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.published import (
    domain_of,
    embed,
    gradients,
    norm,
    tiny,
)
from tf_syncrec.models.cross_domain.two_domains.man import MAN
from tf_syncrec.models.cross_domain.two_domains.pair_attention import PairScores

ITEMS = np.array([[0, 3, 7, 12, 1], [0, 0, 0, 2, 9], [6, 9, 8, 6, 7]], np.int32)
ASKED = np.array([[2, 0, 1]] * 3, np.int32)


def small(**more):
    return tiny(MAN, blocks=1, groups=3, **more)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def pair_score(layer, q, k, c=None):
    """The network on one concatenation."""
    x = np.concatenate([k, q, k * q, q - k, *([] if c is None else [c])])
    w1, b1, s1, w2, b2, s2, w3 = (weight.numpy() for weight in layer.weights)

    def prelu(x, slope):
        return np.where(x > 0, x, slope * x)

    return (prelu(prelu(x @ w1 + b1, s1) @ w2 + b2, s2) @ w3)[0]


@pytest.mark.parametrize("context", [False, True])
def test_a_pair_is_scored_by_a_network_of_both(context):
    layer = PairScores(4, (5, 3), context)
    layer.build()
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    q, c = rng.normal(size=(2, 2, 3, 4)).astype(np.float32)
    k = rng.normal(size=(2, 6, 4)).astype(np.float32)
    found = (layer(q, k, c) if context else layer(q, k)).numpy()
    for row, t, s in np.ndindex(2, 3, 6):
        expected = pair_score(layer, q[row, t], k[row, s], c[row, t] if context else None)
        assert found[row, t, s] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def tower(layer, x, d):
    w1, b1, w2, b2, scale, offset = (weight.numpy()[d] for weight in layer.weights)
    inner = (x @ w1 + b1[0]).astype(np.float64)
    inner = tf.nn.gelu(inner, approximate=False).numpy()
    return norm(x + inner @ w2 + b2[0], scale[0], offset[0])


def encoded(encoder, rows):
    mask = np.tril(np.ones((1, len(rows), len(rows)), bool))
    return encoder(tf.constant(rows[None], tf.float32), mask).numpy()[:, 0]


def literal(model, history, d):
    """The representation for domain d: each attention of the last slot of a sequence alone."""
    own = [item for item in history if domain_of(item) == d]
    local_items, global_items = embed(model, own, 1 + d), embed(model, history, 0)
    local = encoded(model.local_encoders, local_items)[d]
    merged = encoded(model.global_encoder, global_items)[0]
    scores = np.array(
        [pair_score(model.similarity_scores, local_items[-1], k) for k in local_items]
    )
    similar = softmax(scores) @ local_items

    layer = model.fusion
    w_q, w_k, w_v, w_out = (
        dense.kernel.numpy()[..., :]
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    )
    shares = softmax(merged @ w_k[:, 0] @ (local[-1] @ w_q[:, 0]) / np.sqrt(8))
    fused = tower(model.fusion_towers, local[-1] + shares @ merged @ w_v[:, 0] @ w_out[0], d)

    part = model.groups
    matrices = (part.keys, part.values, part.asked, part.answered)
    keys, values, asked, answered = (weight.numpy() for weight in matrices)
    groups = []
    for g in part.prototypes.numpy():
        found = softmax(local @ keys @ norm(g) / np.sqrt(8)) @ local @ values
        groups.append(tower(part.towers, g + found, d))
    assigned = softmax(np.array(groups) @ (local[-1] @ asked) / np.sqrt(8))
    assert assigned.sum() == pytest.approx(1.0)
    grouped = tower(part.matched, assigned @ np.array(groups) @ answered, d)

    mixed = np.concatenate([similar, local[-1], fused, grouped]) @ model.local_kernel.numpy()[d]
    return tower(model.local_towers, mixed, d) + tower(model.global_tower, merged[-1], 0)


def test_it_is_its_equations():
    model = small()
    for history in ([], [3], [3, 7, 12, 1], [6, 9, 8]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        queries = model.query_vectors(batch, ASKED[:1])[0]
        for query, d in zip(queries, (2, 0, 1), strict=True):
            np.testing.assert_allclose(query, literal(model, history, d), rtol=1e-3, atol=1e-4)


def test_groups_have_no_order_and_a_sequence_is_shared_out_among_them():
    model = small()
    before = model.query_vectors(ITEMS, ASKED).numpy()
    prototypes = model.groups.prototypes.numpy()
    model.groups.prototypes.assign(prototypes[[2, 0, 1]])
    np.testing.assert_allclose(model.query_vectors(ITEMS, ASKED), before, atol=1e-4)
    model.groups.prototypes.assign(prototypes[[0, 0, 1]])
    assert np.abs(model.query_vectors(ITEMS, ASKED) - before).max() > 1e-3
    local = tf.random.stateless_normal([2, 4, 8], [1, 2])
    groups = tf.random.stateless_normal([2, 4, 3, 8], [3, 4])
    shares = model.groups.assigned(local, groups).numpy()
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, rtol=1e-6)
    assert shares.min() >= 0 and np.ptp(shares, axis=-1).min() > 1e-3


def test_encoders_do_not_learn_from_fusion_and_groups(make_items):
    """Where the domain's network reads these alone: the local encoder learns nothing at all."""
    model = small(negatives=2)
    encoders = (model.local_encoders, model.global_encoder)
    kernel = model.local_kernel.numpy()
    for own in (True, False):
        kernel[:, : 2 * 8] *= own
        model.local_kernel.assign(kernel)
        found = gradients(model, make_items([6, 5]))
        local, merged = (
            max(np.abs(found[weight.path]).max() for weight in encoder.trainable_weights)
            for encoder in encoders
        )
        assert (local > 1e-6) == own and (own or local == 0.0) and merged > 1e-6
    assert np.abs(found[model.groups.prototypes.path]).max() > 1e-6


def test_prototypes_learn_from_all_domains_and_are_pushed_apart(make_items):
    model = small(negatives=2, disentangling=0.5)
    g = model.groups.prototypes.numpy()
    apart = sum(((g[i] - g[j]) ** 2).sum() / 2 for i in range(3) for j in range(i))
    losses = model.batch_losses(make_items([6, 5]), training=False)
    np.testing.assert_allclose(losses.disentangling, -0.5 * apart, rtol=1e-5)
    model.disentangling = 0.0
    for d in range(3):
        found = gradients(model, make_items([4, 3], domains=[[d], [d]]))
        assert np.abs(found[model.groups.prototypes.path]).max() > 1e-6
        by_domain = np.abs(found[model.local_kernel.path]).max(axis=(1, 2))
        assert by_domain[d] > 1e-6 and np.delete(by_domain, d).max() == 0.0
