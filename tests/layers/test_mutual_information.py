"""SC-MIM is InfoNCE over the users of the batch that have the domain (Eq. 14-17)."""

import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers import SingleCrossMutualInformation
from tf_syncrec.layers.mutual_information import pool_by_domain


@pytest.fixture(params=[("sigmoid", "all"), ("sigmoid", "others"), ("bilinear", "all")])
def layer(request):
    layer = SingleCrossMutualInformation(4, *request.param)
    layer.build()
    layer.kernel.assign(np.random.default_rng(0).normal(size=(4, 4)))
    return layer


def views(users=5, domains=3):
    rng = np.random.default_rng(1)
    single, cross = rng.normal(size=(2, users, domains, 4)).astype(np.float32)
    return single, cross, rng.random((users, domains)) < 0.7


def info_nce(layer, single, cross, present, d):
    """Loss of each user of a domain, by the book."""
    w = layer.kernel.numpy()

    def rho(u, v):
        x = u @ w @ v
        return 1 / (1 + np.exp(-x)) if layer.rho == "sigmoid" else x

    users = np.flatnonzero(present[:, d])
    losses = []
    for i in users:
        own = rho(single[i, d], cross[i, d])
        everybody = [j for j in users if layer.contrast == "all" or j != i]
        if everybody:
            normaliser = sum(np.exp(rho(single[j, d], cross[i, d])) for j in everybody)
            losses.append(-(own - np.log(normaliser)))
    return losses


def test_loss_is_info_nce(layer):
    single, cross, present = views()
    assert 0 < present.sum() < present.size
    loss, count = layer(single, cross, tf.constant(present))
    for d in range(3):
        expected = info_nce(layer, single, cross, present, d)
        assert count[d] == len(expected)
        np.testing.assert_allclose(loss[d], np.sum(expected), rtol=1e-5)


def test_users_without_the_domain_neither_count_nor_contrast(layer):
    single, cross, present = views()
    absent = ~present
    expected = layer(single, cross, tf.constant(present))
    single[absent], cross[absent] = 1e3, -1e3
    for a, b in zip(expected, layer(single, cross, tf.constant(present)), strict=True):
        np.testing.assert_array_equal(a, b)
    inputs = [tf.constant(single), tf.constant(cross)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(*inputs, tf.constant(present))[0])
    for gradient in tape.gradient(loss, inputs):
        assert np.all(gradient.numpy()[absent] == 0)
        assert np.all(np.isfinite(gradient))


def test_every_other_user_of_the_domain_contrasts():
    layer = SingleCrossMutualInformation(4, "bilinear")
    layer.build()
    single, cross, _ = views()
    present = tf.ones([5, 3], tf.bool)
    loss = layer(single, cross, present)[0]
    for other in range(1, 5):
        changed = single.copy()
        changed[other, 0] += 1.0
        assert np.abs(layer(changed, cross, present)[0][0] - loss[0]) > 1e-4
        np.testing.assert_allclose(layer(changed, cross, present)[0][1:], loss[1:], rtol=1e-6)


def test_known_values(layer):
    """All pairs alike: n users contrast by log n, or log (n - 1). One alone: 0. Nobody: 0."""
    others = layer.contrast == "others"
    same = np.ones((4, 2, 4), np.float32)
    present = np.array([[True, True], [True, False], [True, False], [True, False]])
    loss, count = layer(same, same, tf.constant(present))
    np.testing.assert_allclose(loss, [4 * np.log(4 - others), 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(count, [4, 1 - others])
    loss, count = layer(same, same, tf.zeros([4, 2], tf.bool))
    np.testing.assert_array_equal([loss, count], np.zeros((2, 2)))


def test_sigmoid_limits_the_contrast_to_e():
    """At best e / (e + n - 1) of the probability: the reason for `rho="bilinear"`."""
    kernel = 100 * np.eye(4, dtype=np.float32)
    single = cross = 2 * np.eye(4, dtype=np.float32)[:, None] - 0.5
    least = {}
    for rho in ("sigmoid", "bilinear"):
        layer = SingleCrossMutualInformation(4, rho)
        layer.build()
        layer.kernel.assign(kernel)
        loss, _ = layer(single, cross, tf.ones([4, 1], tf.bool))
        least[rho] = float(loss[0]) / 4
    np.testing.assert_allclose(least["sigmoid"], np.log((np.e + 3) / np.e), rtol=1e-4)
    assert least["bilinear"] < 1e-5


def test_pooling_averages_a_users_slots_of_a_domain():
    y = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    domains = np.array([[-1, 0, 2, 0, 2], [1, 1, 1, 1, 0]], np.int32)
    segments = np.array([[-1, 0, 0, 2, 2], [1, 1, 1, 1, 1]], np.int32)
    pooled, present = pool_by_domain(y, segments, domains, 3)
    for sequence in range(3):
        for d in range(3):
            slots = (segments == sequence) & (domains == d)
            expected = y[slots].mean(axis=0) if slots.any() else np.zeros(4)
            np.testing.assert_allclose(pooled[sequence, d], expected, rtol=1e-5, atol=1e-6)
            assert present[sequence, d] == slots.any()


def test_both_tasks_experts_learn_from_it(make_model, make_items):
    model = make_model(eta=0.0)
    with tf.GradientTape() as tape:
        losses = model.batch_losses(make_items([6, 5, 4]))
    assert losses.total == losses.mutual_information
    experts = [model.acmoe.cross_experts.trainable_weights,
               model.acmoe.single_experts.trainable_weights]  # fmt: skip
    for gradients in tape.gradient(losses.total, experts):
        assert any(np.any(g) for g in gradients)


def test_training_pulls_the_views_of_a_user_together(make_model, make_items):
    model = make_model(eta=0.0, rho="bilinear")
    items = make_items([6, 5, 4, 5])
    first = model.batch_losses(items).mutual_information
    for _ in range(10):
        with tf.GradientTape() as tape:
            loss = model.batch_losses(items).total
        weights = [*model.acmoe.trainable_weights, model.mutual_information.kernel]
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(0.1 * tf.convert_to_tensor(gradient))
    assert model.batch_losses(items).mutual_information < 0.9 * first
