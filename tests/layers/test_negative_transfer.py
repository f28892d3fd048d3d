"""φ and λ (Eq. 10-12): what they measure, which way they move, what they touch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.processes import TWO_REPLICAS, last_line
from tf_syncrec.layers import NegativeTransferGap, RelativeNegativeTransfer

ALL = tf.ones([3], tf.bool)


def transfer(**settings):
    layer = RelativeNegativeTransfer(3, **settings)
    layer.build()
    return layer


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


# ------------------------------------------------------------------------------------ the layer


def test_update_is_equation_11():
    layer = transfer(alpha=0.5, beta=2.0, delta=0.25)
    layer.relative.assign([0.2, 0.5, 0.3])
    gap = np.array([0.1, -0.2, 0.05], np.float32)
    expected = softmax((0.5 * np.array([0.2, 0.5, 0.3]) + 2.0 * gap) / 0.25)
    np.testing.assert_allclose(layer(gap, ALL), expected, rtol=1e-5)


def test_uniform_start_is_the_papers_start_at_zero():
    layer = transfer(beta=3.0, delta=0.5)
    gap = np.array([0.1, -0.2, 0.05], np.float32)
    np.testing.assert_allclose(layer(gap, ALL), softmax(3.0 * gap / 0.5), rtol=1e-5)


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_a_domain_that_others_hurt_loses_weight(delta):
    """A lower single loss means φ < 0 (Definition 2): the other domains do not help."""
    layer = transfer(delta=delta)
    relative = layer(tf.constant([-0.4, 0.0, 0.4]), ALL).numpy()
    assert relative[0] < 1 / 3 < relative[2]
    assert relative[0] < relative[1] < relative[2]
    worse = layer(tf.constant([-0.8, 0.0, 0.4]), ALL).numpy()
    assert worse[0] < relative[0]


def test_equal_gaps_leave_the_cross_loss_as_it_is():
    for gap in (-3.0, 0.0, 2.0):
        np.testing.assert_allclose(3 * transfer()(tf.fill([3], gap), ALL), 1.0, rtol=1e-5)


def test_absent_domains_keep_their_share_and_the_sum_stays_one():
    layer = transfer()
    rng = np.random.default_rng(0)
    layer.relative.assign([0.2, 0.5, 0.3])
    for _ in range(50):
        before = layer.relative.numpy()
        present = rng.random(3) < 0.6
        gap = np.where(present, rng.normal(size=3), np.nan).astype(np.float32)
        after = layer(gap, tf.constant(present)).numpy()
        np.testing.assert_array_equal(after[~present], before[~present])
        np.testing.assert_allclose(after.sum(), 1, rtol=1e-5)
        assert np.all(after >= 0)
        layer.update(after, gap, tf.constant(present))
        np.testing.assert_array_equal(layer.gap.numpy()[present], gap[present])
        assert np.all(np.isfinite(layer.gap))


@pytest.mark.parametrize("gap", [[-1e4, 0.0, 1e4], [1e4, 1e4, 1e4]])
def test_enormous_gaps_stay_finite(gap):
    relative = transfer()(tf.constant(gap), ALL).numpy()
    np.testing.assert_allclose(relative.sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("raw", [-80.0, -20.0, -1.0, 0.0, 5.0, 80.0])
def test_beta_never_changes_the_direction(raw):
    layer = transfer()
    layer.raw_beta.assign(raw)
    layer.raw_alpha.assign(raw)
    assert layer.beta > 0
    assert layer.alpha > 0
    relative = layer(tf.constant([-0.4, 0.0, 0.4]), ALL).numpy()
    assert relative[0] <= relative[1] <= relative[2]


def test_rates_start_where_they_are_told():
    layer = transfer(alpha=0.01, beta=30.0)
    np.testing.assert_allclose([layer.alpha, layer.beta], [0.01, 30.0], rtol=1e-4)
    assert not layer.trainable_weights
    assert len(transfer(trainable_rates=True).trainable_weights) == 2
    with pytest.raises(ValueError, match="positive"):
        transfer(beta=-1.0)


def test_no_negative_transfer_anywhere_leaves_the_cross_loss_as_it_is():
    """As published the least of three domains that all gain keeps a thousandth of its weight."""
    gap = tf.constant([8.0, 0.25, 2.0])
    np.testing.assert_allclose(3 * transfer(clamp=True)(gap, ALL), 1.0, rtol=1e-6)
    assert 3 * transfer()(gap, ALL).numpy()[1] < 0.01


def test_clamped_a_gain_takes_nothing_and_harm_counts_as_before():
    hurt = transfer(clamp=True)(tf.constant([-0.7, 0.1, 5.0]), ALL).numpy()
    np.testing.assert_allclose(hurt, softmax(np.array([-0.7, 0.0, 0.0])), rtol=1e-5)
    np.testing.assert_allclose(
        transfer(clamp=True)(tf.constant([-0.7, -0.2, 0.0]), ALL),
        transfer()(tf.constant([-0.7, -0.2, 0.0]), ALL),
        rtol=1e-6,
    )


# -------------------------------------------------------------------------------------- the gap


def losses_of_steps(steps=7):
    """Sums and numbers of targets `[steps, 3, domains]`; not every step has every domain."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, (steps, 3)).astype(np.float32)
    single, cross = rng.gamma(2.0, 1.0, (2, steps, 3)).astype(np.float32) * targets
    return np.stack([single, cross, targets], axis=1)


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_smoothed_gap_is_that_of_decaying_sums(kind):
    layer = NegativeTransferGap(3, kind, smoothing=0.75)
    layer.build()
    expected = np.zeros([3, 3])
    for step in losses_of_steps():
        for d in range(3):
            if step[2, d]:
                expected[:, d] = 0.75 * expected[:, d] + 0.25 * step[:, d]
        gap, sums = layer(*step)
        layer.update(sums)
        seen = expected[2] > 0
        per = expected[2, seen] if kind == "mean" else 1.0
        literal = (expected[0, seen] - expected[1, seen]) / per
        np.testing.assert_allclose(gap.numpy()[seen], literal, rtol=1e-5, atol=1e-6)


def test_without_smoothing_the_batch_alone_counts():
    layer = NegativeTransferGap(3)
    layer.build()
    assert not layer.weights
    for step in losses_of_steps():
        gap, _ = layer(*step)
        seen = step[2] > 0
        literal = (step[0, seen] - step[1, seen]) / step[2, seen]
        np.testing.assert_allclose(gap.numpy()[seen], literal, rtol=1e-5, atol=1e-6)
        assert np.isfinite(gap).all()


def test_a_standardised_gap_knows_no_nats():
    """A domain of ten times the losses is as much hurt; the gap is below 1 and has φ's sign."""
    single, cross, targets = losses_of_steps()[:, :, :].max(axis=0)
    layer, plain = NegativeTransferGap(3, standardise=True), NegativeTransferGap(3)
    gap = layer(single, cross, targets)[0].numpy()
    scale = np.array([10.0, 1.0, 0.1], np.float32)
    np.testing.assert_allclose(layer(scale * single, scale * cross, targets)[0], gap, rtol=1e-5)
    np.testing.assert_allclose(gap, 1 - cross / single, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(gap), np.sign(plain(single, cross, targets)[0]))


def test_wrong_gaps_are_refused():
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        NegativeTransferGap(3, "median")
    with pytest.raises(ValueError, match=r"below 1. Received: 1\.0"):
        NegativeTransferGap(3, smoothing=1.0)


# ------------------------------------------------------------------------------------ the model


def test_gap_compares_the_same_targets(make_model, make_items, same_negatives):
    items = make_items([7, 5, 4])
    for gap in ("mean", "sum"):
        losses = make_model(gap=gap).batch_losses(items)
        expected = losses.domain_single - losses.domain_cross
        if gap == "mean":
            expected /= losses.domain_targets
        np.testing.assert_allclose(losses.gap, expected, rtol=1e-5, atol=1e-6)
        counts = [np.sum((items >= a) & (items < b)) for a, b in ((1, 6), (6, 10), (10, 13))]
        # The first item of the user with T + 1 = 7 of them is no target.
        counts[next(d for d, a in enumerate((6, 10, 13)) if items[0, 0] < a)] -= 1
        np.testing.assert_array_equal(losses.domain_targets, counts)


def test_views_that_agree_have_no_gap(make_model, make_items, same_negatives):
    """A user of one domain has one sequence in both views: with equal parts φ is 0."""
    model = make_model((9,), gate="causal", style="pre_norm")
    acmoe, embedding = model.acmoe, model.embedding
    acmoe.single_gate.set_weights(acmoe.cross_gate.get_weights())
    acmoe.single_tower.set_weights(acmoe.cross_tower.get_weights())
    start = embedding.start_tokens.numpy()
    embedding.start_tokens.assign([start[0], start[0]])
    losses = model.batch_losses(make_items([9, 4], (9,)))
    assert losses.single > 0.1
    np.testing.assert_allclose(losses.gap, 0, atol=1e-6)
    np.testing.assert_allclose(losses.relative, 1, rtol=1e-6)


def test_corrected_loss_is_equation_12(make_model, make_items, same_negatives):
    items = make_items([7, 5, 4])
    for enabled in (True, False):
        model = make_model(enabled=enabled, mutual_information=False, eta=0.25)
        losses = model.batch_losses(items)
        weights = 3 * losses.relative if enabled else tf.ones([3])
        corrected = np.sum(weights * losses.domain_cross) / np.sum(losses.domain_targets)
        np.testing.assert_allclose(losses.total, 0.25 * (losses.single + corrected), rtol=1e-5)
    assert np.ptp(losses.relative) > 0.01


def test_the_gap_is_a_measurement():
    layer, gap = RelativeNegativeTransfer(3, trainable_rates=True), tf.Variable([0.1, -0.4, 0.2])
    layer.build()
    with tf.GradientTape() as tape:
        first = layer(gap, tf.constant([True, True, False]))[0]
    of_gap, of_beta = tape.gradient(first, [gap, layer.raw_beta])
    assert of_gap is None and abs(of_beta) > 1e-3


def test_gradients_reach_the_rates_and_stop_at_the_gap(make_model, make_items):
    model = make_model(mutual_information=False)
    rates = [model.negative_transfer.raw_alpha, model.negative_transfer.raw_beta]
    others = [w for w in model.trainable_weights if not any(w is rate for rate in rates)]
    assert len(others) == len(model.trainable_weights) - 2
    with tf.GradientTape(persistent=True) as tape:
        losses = model.batch_losses(make_items([7, 5, 4]))
        relative = tf.reduce_sum(losses.relative * [1.0, -2.0, 3.0])
        gap = tf.reduce_sum(losses.gap)
    assert all(np.abs(g) > 1e-6 for g in tape.gradient(losses.total, rates))
    assert tape.gradient(losses.single, rates) == [None, None]
    assert all(g is None for g in tape.gradient(relative, others))
    assert all(g is None for g in tape.gradient(gap, model.trainable_weights))


def test_a_training_step_stores_lambda_once(make_model, make_items, same_negatives):
    model = make_model()
    model.compile(keras.optimizers.SGD(0.1))
    items = make_items([7, 5], domains=[[0, 1], [0, 1]])
    before, losses = model.negative_transfer.relative.numpy(), model.batch_losses(items)
    rates = [float(model.negative_transfer.alpha), float(model.negative_transfer.beta)]
    model.train_step({"items": items})
    after = model.negative_transfer.relative.numpy()
    np.testing.assert_allclose(after, losses.relative, rtol=1e-5)
    assert after[2] == before[2]
    np.testing.assert_allclose(after.sum(), 1, rtol=1e-5)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_allclose(model.negative_transfer.gap, losses.gap, rtol=1e-5, atol=1e-6)
    trained = [float(model.negative_transfer.alpha), float(model.negative_transfer.beta)]
    assert all(a != b for a, b in zip(rates, trained, strict=True))


def test_measuring_does_not_change_lambda(make_model, make_items):
    model = make_model()
    before = model.negative_transfer.relative.numpy()
    model.batch_losses(make_items([7, 5]))
    np.testing.assert_array_equal(model.negative_transfer.relative, before)


@pytest.mark.parametrize("compiled", [True, False])
def test_lambda_survives_saving(compiled, make_model, make_items, tmp_path):
    model = make_model(smoothing=0.5)
    model.compile(keras.optimizers.Adam(1e-3))
    items = make_items([7, 5, 4])
    model.train_step({"items": items})
    assert np.abs(model.gap.sums).min() > 0
    model.save_weights(tmp_path / "model.weights.h5")
    other = make_model(seed=1, smoothing=0.5)
    if compiled:
        other.compile(keras.optimizers.Adam(1e-3))
    assert np.abs(other.negative_transfer.relative - model.negative_transfer.relative).max() > 0.01
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    np.testing.assert_array_equal(model.gap.sums, other.gap.sums)
    for name in ("relative", "gap", "alpha", "beta"):
        np.testing.assert_array_equal(
            getattr(model.negative_transfer, name), getattr(other.negative_transfer, name)
        )


# ------------------------------------------------------------------------------ two replicas

REPLICAS = """
import tf_syncrec.models.syncrec as module
from tf_syncrec.config import Config
from tf_syncrec.data.packing import pack

config = Config.model_validate(
    {
        "model": {"window": 6, "dim": 8, "experts": 2, "cross_experts": 1, "blocks": 1}
        | {"dropout": 0.0, "gate": "causal", "style": "pre_norm"},
        "negative_transfer": {"trainable_rates": True, "smoothing": 0.5, "standardise": True},
        "loss": {"negatives": 3},
    }
)
items = np.array([[0, 0, 1, 7, 10], [0, 0, 0, 2, 11], [4, 8, 12, 3, 9]], np.int32)


def fit(model, rows, **more):
    data = tf.data.Dataset.from_tensor_slices({"items": rows} | more).batch(2)
    return model.fit(data, verbose=0).history["loss"]


def replicas(variable):
    return [copy.numpy().tolist() for copy in strategy.experimental_local_results(variable.value)]


def trained(model):
    return [weight.numpy() for weight in model.trainable_weights]


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
keras.utils.set_random_seed(0)
alone = module.SyNCRec.from_settings(config, [5, 4, 3])
with strategy.scope():
    mirrored = module.SyNCRec.from_settings(config, [5, 4, 3])
mirrored.set_weights(alone.get_weights())
result = {"replicas": strategy.num_replicas_in_sync}

# Before `fit` on replicas, Keras calls a model that has an unbuilt layer, on a training batch.
result["unbuilt"] = [layer.name for layer in mirrored._flatten_layers() if not layer.built]
for layer in mirrored._flatten_layers():
    layer.built = True

start = trained(alone)
expected = alone.batch_losses(items[:2])
with strategy.scope():
    mirrored.compile(keras.optimizers.SGD(0.1))
    fit(mirrored, items[:2])
alone.compile(keras.optimizers.SGD(0.1))
alone.train_step({"items": items[:2]})
after, after_mirrored = trained(alone), trained(mirrored)
result |= {
    "relative": replicas(mirrored.negative_transfer.relative),
    "gap": replicas(mirrored.negative_transfer.gap),
    "expected_relative": expected.relative.numpy().tolist(),
    "expected_gap": expected.gap.numpy().tolist(),
    "step_ratio": float(
        sum(np.abs(a - b).sum() for a, b in zip(start, after_mirrored))
        / sum(np.abs(a - b).sum() for a, b in zip(start, after))
    ),
    "step_error": float(max(np.abs(a - b).max() for a, b in zip(after, after_mirrored))),
}
mirrored.set_weights(alone.get_weights())
many = np.array([[3, 7, 1, 10, 2], [0, 4, 8, 12, 5], [0, 0, 0, 9, 6], [0, 0, 0, 0, 11]], np.int32)
packed, segments = pack(many, 6)
with strategy.scope():
    fit(mirrored, packed, segments=segments)
alone.train_step({"items": many})
result["packed_rows"] = len(packed)
result["packed_error"] = float(
    max(np.abs(a - b).max() for a, b in zip(trained(alone), trained(mirrored)))
)
with strategy.scope():
    losses = fit(mirrored, items)  # the last batch has one user for two replicas
result["finite_loss"] = bool(np.isfinite(losses).all())
result["not_finite"] = [w.path for w in mirrored.weights if not np.isfinite(w.numpy()).all()]
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def replicas():
    """What two mirrored virtual CPUs did; a process of its own, as TensorFlow fixes devices."""
    return last_line(TWO_REPLICAS + REPLICAS)


@pytest.mark.slow
def test_model_is_built_to_the_last_layer(replicas):
    """`fit` under a distribution strategy fails otherwise, with a KeyError from `call`."""
    assert replicas["unbuilt"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relative", "gap"])
def test_replicas_share_one_lambda_of_the_whole_batch(name, replicas):
    assert replicas["replicas"] == 2
    first, second = replicas[name]
    assert first == second
    np.testing.assert_allclose(first, replicas[f"expected_{name}"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one(replicas):
    """Keras sums the gradients of replicas: each of them has to bring its share of the mean."""
    assert replicas["step_error"] < 1e-5, f"the step is {replicas['step_ratio']:.2f} times as long"


@pytest.mark.slow
def test_packed_rows_are_shared_out_to_the_same_end(replicas):
    assert replicas["packed_rows"] == 2
    assert replicas["packed_error"] < 1e-5


@pytest.mark.slow
def test_a_replica_without_users_does_no_harm(replicas):
    assert replicas["not_finite"] == []
    assert replicas["finite_loss"]
