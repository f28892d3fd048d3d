"""What coming back to an item gains: counted by a loop, and by the layer."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers import RepeatConsumption
from tf_syncrec.layers.score_terms.repeat_consumption import BUCKETS, FEATURES

SIZES = (5, 0, 3, 400)
FIRST = (1, 6, 6, 9)


def domain_of(item):
    return max(d for d, first in enumerate(FIRST) if item >= first)


def layer_with_weights(seed=0):
    layer = RepeatConsumption(SIZES)
    layer.build()
    rng = np.random.default_rng(seed)
    layer.weight.assign(rng.normal(size=layer.weight.shape))
    layer.log_returns.assign(rng.normal(size=layer.log_returns.shape))
    return layer


def histories(rng, rows=12, length=60):
    """Rows of few items that repeat, of many domains, with places of nothing anywhere."""
    items = rng.integers(1, 12, (rows, length))
    items[rng.random(items.shape) < 0.2] = 0
    items[::3, : length // 2] = 0
    items[1] = rng.integers(9, 409, length)
    items[2] = 0
    return items.astype(np.int32)


def literal(layer, row):
    """Gains by item."""
    weight, returns = layer.weight.numpy(), layer.log_returns.numpy()
    events = [int(item) for item in row if item]
    found = {}
    for item in set(events):
        domain = domain_of(item)
        own = [other for other in events if domain_of(other) == domain]
        age = own[::-1].index(item)
        bucket = int(math.log2(age + 1) + 1e-9)
        found[item] = (
            weight[domain, 0] * math.log(events.count(item))
            + weight[domain, 1] * returns[item]
            + weight[domain, 2 + bucket]
        )
    return found


def by_item(ids, gains):
    return [
        {int(i): float(gain) for i, gain in zip(*row, strict=True) if i}
        for row in zip(ids.numpy(), gains.numpy(), strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_gains_are_those_of_a_loop(seed):
    layer, items = layer_with_weights(seed), histories(np.random.default_rng(seed))
    ids, gains = layer(items)
    assert ids.shape == gains.shape == items.shape
    for row, received in zip(items, by_item(ids, gains), strict=True):
        assert received == pytest.approx(literal(layer, row), rel=1e-5, abs=1e-5)
    for row in ids.numpy():
        named = row[row > 0].tolist()
        assert len(named) == len(set(named))  # votes of an item add up
    np.testing.assert_array_equal(gains.numpy()[ids.numpy() == 0], 0.0)


def test_all_of_a_long_history_counts():
    """Thousands of events, the first of them as well, and the last bucket has no end."""
    layer = layer_with_weights()
    row = np.concatenate([[9], np.tile(np.arange(10, 409), 13), [9]]).astype(np.int32)
    for items in (row, row[1:], row[:-1]):
        (received,) = by_item(*layer(items[None]))
        assert received == pytest.approx(literal(layer, items), rel=1e-5, abs=1e-5)
    assert len(row) > BUCKETS[-1]


def test_ages_are_of_the_domain():
    """What one does elsewhere makes nothing older."""
    layer = layer_with_weights()
    before = np.array([[1, 2, 1, 3, 2]], np.int32)
    after = np.array([[7, 1, 20, 2, 1, 3, 2, 6, 6, 300]], np.int32)
    (short,), (long,) = (by_item(*layer(items)) for items in (before, after))
    assert {item: long[item] for item in short} == short


def test_until_it_is_fitted_it_says_nothing():
    layer = RepeatConsumption(SIZES)
    layer.build()
    assert not bool(layer.voting())
    assert not layer(histories(np.random.default_rng(0)))[1].numpy().any()
    layer.weight.assign(tf.one_hot([2] * len(SIZES), FEATURES))
    assert bool(layer.voting()) and not layer.trainable_weights
