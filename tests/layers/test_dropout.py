"""Dropout keeps expectations, drops as often as it says, and treats gradients as values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.gradients import assert_same_gradients
from tf_syncrec.layers import Dropout, SharedEmbedding, Tower, TransformerExperts, split_views


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9, 0.999])
def test_rate_and_expectation(rate):
    keras.utils.set_random_seed(0)
    rounded = min(round(256 * rate), 255) / 256
    x = np.full([501, 401], 2.0, np.float32)
    y = Dropout(rate)(x, training=True).numpy()
    deviation = np.sqrt(rounded * (1 - rounded) / y.size)
    assert abs(np.mean(y == 0) - rounded) < 5 * deviation
    np.testing.assert_allclose(y[y > 0], 2 / (1 - rounded), rtol=1e-6)
    assert abs(y.mean() - 2) < 10 * deviation / (1 - rounded)


def test_elements_are_independent():
    """No row, column, or neighbour in the same random word decides about another."""
    keras.utils.set_random_seed(0)
    kept = Dropout(0.5)(tf.ones([64, 4096]), training=True).numpy() > 0
    assert abs(kept.mean(axis=0) - 0.5).max() < 6 * 0.5 / 64**0.5
    assert abs(kept.mean(axis=1) - 0.5).max() < 6 * 0.5 / 4096**0.5
    for distance in range(1, 9):
        both = np.mean(kept[:, distance:] & kept[:, :-distance])
        assert abs(both - 0.25) < 0.005


def test_gradient_passes_where_the_value_did():
    x = tf.random.normal([33, 7], seed=1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = Dropout(0.3)(x, training=True)
    np.testing.assert_allclose(tape.gradient(y, x), y / x, rtol=1e-5)


def test_each_call_draws_anew_and_a_seed_repeats_them():
    def draw():
        keras.utils.set_random_seed(3)
        layer = Dropout(0.5)
        step = tf.function(lambda: layer(tf.ones([100]), training=True))
        return step().numpy(), step().numpy()

    first, second = draw()
    assert np.any(first != second)
    np.testing.assert_array_equal(draw(), [first, second])


@pytest.mark.parametrize("shape", [[0], [1], [3, 5], [2, 0, 4], []])
def test_any_shape(shape):
    assert Dropout(0.5)(tf.ones(shape), training=True).shape == shape


def test_off_unless_training():
    x = tf.random.normal([10])
    assert Dropout(0.5)(x) is x
    assert Dropout(0.5)(x, training=False) is x
    assert Dropout(0.0)(x, training=True) is x


def test_impossible_rates_are_refused():
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="rate must be"):
            Dropout(rate)


def test_configuration_round_trip():
    twin = Dropout.from_config(Dropout(0.3).get_config())
    assert twin.get_config() == {**Dropout(0.3).get_config(), "name": twin.name}
    assert twin.rate == 0.3


def plain(layer, inputs, training=None):
    """Inverted dropout as it is written down, of the same bytes."""
    if not training:
        return inputs
    seed = layer.seed_generator.next()
    size = int(np.prod(inputs.shape))
    words = tf.random.stateless_uniform([-(-size // 4)], seed, None, None, tf.int32).numpy()
    kept = words.view(np.uint8)[:size].reshape(inputs.shape) >= layer.dropped_levels
    return tf.where(kept, inputs / (1 - layer.dropped_levels / 256), 0.0)


@pytest.mark.parametrize("style", ["pre_norm", "paper"])
def test_inside_the_network_it_is_plain_dropout(style, make_model, make_items, monkeypatch):
    found = []
    for call in (Dropout.call, plain):
        monkeypatch.setattr(Dropout, "call", call)
        model = make_model(dropout=0.3, style=style, heads=2)
        keras.utils.set_random_seed(0)
        with tf.GradientTape() as tape:
            losses = model.batch_losses(make_items([6, 4, 5]))
        found.append((losses, tape.gradient(losses.total, model.trainable_weights)))
    (ours, received), (expected, gradients) = found
    for name in ours._fields:
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), rtol=1e-5)
    assert_same_gradients(model, gradients, received)
    assert ours.total != model.batch_losses(make_items([6, 4, 5]), training=False).total


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_bfloat16_scales_no_worse_than_keras(rate):
    x = tf.cast(np.linspace(0.1, 3, 4000), tf.bfloat16)
    errors = []
    for layer in (Dropout(rate), keras.layers.Dropout(rate)):
        share = getattr(layer, "dropped_levels", 256 * rate) / 256
        y = np.asarray(layer(x, training=True), np.float64)
        exact = np.asarray(x, np.float64) / (1 - share)
        errors.append(np.abs(y / exact - 1)[y > 0].max())
    assert errors[0] <= max(errors[1], 2**-7)


# Where the network drops: with normalisations out of the way each place is a linear map of what it
# drops, so that the mean over many draws is what it says without dropout. All rows are equal.
RATE = 0.25  # 64 of 256 levels: nothing is rounded
ROWS = 4000


def redrawn(layer):
    """A layer whose every weight matters."""
    layer.build()
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    keras.utils.set_random_seed(0)
    return layer


def assert_share(happened, share):
    """Of what happens independently in each draw."""
    assert abs(np.mean(happened) - share) < 5 * (share * (1 - share) / happened.size) ** 0.5


def assert_dropped(samples, expected):
    """Each element is 0 in its share of the draws `[draws, elements]`, else it is scaled."""
    kept = abs(samples) > 1e-6
    for column in kept.T:
        assert_share(column, 1 - RATE)
    scaled = np.broadcast_to(expected / (1 - RATE), samples.shape)
    np.testing.assert_allclose(samples[kept], scaled[kept], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("style", ["pre_norm", "paper"])
def test_the_embedded_sequence_is_dropped(style):
    embedding = redrawn(SharedEmbedding(6, 2, window=3, dim=4, dropout=RATE, style=style))
    items = tf.tile([[0, 2, 5]], [ROWS, 1])
    view, _ = split_views(items, None, tf.constant([1, 4]), 3)
    expected, samples = (embedding(view, training=training).numpy() for training in (False, True))
    assert not samples[:, 0].any()  # padding
    assert_dropped(samples[:, 1:].reshape(ROWS, -1), expected[0, 1:].ravel())


@pytest.fixture
def unnormalised(monkeypatch):
    for module in ("experts", "towers"):
        monkeypatch.setattr(f"tf_syncrec.layers.{module}.layer_norm", lambda x, *_: x)


@pytest.mark.usefixtures("unnormalised")
def test_what_a_tower_adds_is_dropped():
    tower = redrawn(Tower(2, dim=4, dropout=RATE))
    x = tf.tile(tf.random.normal([1, 2, 4], seed=1), [ROWS, 1, 1])
    towers = tf.ones([ROWS], tf.int32)
    expected, samples = ((tower(x, towers, training=t) - x).numpy() for t in (False, True))
    assert_dropped(samples.reshape(ROWS, -1), expected[0].ravel())


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("silent", [("w2", "b2"), ("out",)], ids=["attention", "feed_forward"])
@pytest.mark.usefixtures("unnormalised")
def test_experts_drop_attention_weights_and_both_branches(silent, heads):
    experts = redrawn(TransformerExperts(2, num_blocks=1, dim=4, num_heads=heads, dropout=RATE))
    (block,) = experts.blocks
    for name in silent:  # of the other branch
        block[name].assign(tf.zeros_like(block[name]))
    x = tf.tile(tf.random.normal([1, 3, 4], seed=1), [ROWS, 1, 1])
    causal = tf.linalg.band_part(tf.ones([ROWS, 3, 3], tf.bool), -1, 0)
    expected, samples = ((experts(x, causal, training=t) - x).numpy() for t in (False, True))
    for expert in range(2):
        mine, without = samples[expert].reshape(ROWS, -1), expected[expert, 0].ravel()
        deviation = mine.std(axis=0) / ROWS**0.5
        assert (abs(mine.mean(axis=0) - without) < 5 * deviation).all()
        if "out" in silent:
            assert_dropped(mine, without)
        else:
            # The first slot sees itself alone: nothing is left of it where the weights of all heads
            # are dropped, or the element of the branch is.
            for column in mine[:, :4].T:
                assert_share(abs(column) > 1e-6, (1 - RATE) * (1 - RATE**heads))
