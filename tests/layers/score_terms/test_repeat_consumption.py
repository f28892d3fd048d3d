"""What coming back to an item gains: counted by a loop, and by the layer."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers import RepeatConsumption
from tf_syncrec.layers.score_terms.repeat_consumption import (
    BUCKETS,
    ELAPSED,
    FEATURES,
    NUMBERS,
    TOLD,
)

SIZES = (5, 0, 3, 400)
FIRST = (1, 6, 6, 9)
HOUR, DAY = 3600, 86400


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


def times_of(rng, items):
    """Baskets, hours, days, weeks and years, from any moment on."""
    gaps = rng.choice([0, 0, 0.4, 1, HOUR, 5 * HOUR, DAY, DAY + HOUR, 7 * DAY, 1e7], items.shape)
    times = rng.uniform(1e8, 2e9, (len(items), 1)) + np.cumsum(gaps, axis=1)
    return np.where(items > 0, times, 0.0)


def near(one, other, period, distance):
    """Whether two times are at the same time of a period."""
    phases = math.fmod(abs(one - other), period)
    return min(phases, period - phases) <= distance


def literal(layer, row, times=None, now=None):
    """Gains by item; times are seconds."""
    told = 0 if times is None else 1 if now is None else 2
    weight, returns = layer.weight.numpy()[told], layer.log_returns.numpy()
    events = [(int(item), place) for place, item in enumerate(row) if item]
    found = {}
    for item in {item for item, _ in events}:
        domain = domain_of(item)
        own = [other for other, _ in events if domain_of(other) == domain]
        age = own[::-1].index(item)
        uses = [place for other, place in events if other == item]
        of_ages = weight[domain, NUMBERS : NUMBERS + len(BUCKETS)]
        of_times = weight[domain, NUMBERS + len(BUCKETS) :]
        found[item] = (
            weight[domain, 0] * math.log(len(uses))
            + weight[domain, 1] * returns[item]
            + of_ages[int(math.log2(age + 1) + 1e-9)]
        )
        if not told:
            found[item] += of_times[0]
            continue
        until = max(times[place] for _, place in events) if now is None else now
        elapsed = until - times[uses[-1]]
        found[item] += of_times[sum(elapsed >= begin for begin in ELAPSED)]
        for column, period, distance in ((2, DAY, 1.5 * HOUR), (3, 7 * DAY, DAY / 2)):
            hits = sum(near(until, times[place], period, distance) for place in uses)
            usual = len(uses) * 2 * distance / period
            found[item] += weight[domain, column] * math.log((hits + 0.5) / (usual + 0.5))
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


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6])
def test_gains_with_times_are_those_of_a_loop(asked, unit):
    """Whatever unit times are in, which nobody says; also in a graph, and told to some rows."""
    layer, rng = layer_with_weights(4), np.random.default_rng(5)
    items = histories(rng)
    times = times_of(rng, items)
    now = times.max(axis=1) + rng.choice([0, 1, HOUR, DAY, 3e7], len(items)) if asked else None
    told = [
        (row, whens, now if now is None else now[i])
        for i, (row, whens) in enumerate(zip(items, times, strict=True))
    ]
    for function in (layer, tf.function(layer.call)):
        found = by_item(*function(items, times / unit, now if now is None else now / unit))
        for (row, whens, when), received in zip(told, found, strict=True):
            expected = literal(layer, row, whens, when) if row.any() else {}
            assert received == pytest.approx(expected, rel=1e-4, abs=1e-4)
    untimed = np.arange(len(items)) % 2 == 0
    some = by_item(*layer(items, np.where(untimed[:, None], 0.0, times), now))
    without = by_item(*layer(items))
    for i, received in enumerate(some):
        expected = without[i] if untimed[i] else by_item(*layer(items, times, now))[i]
        assert received == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_moment_has_no_order():
    """Of what was done at one time, and as often, nothing is gained by the place in the list.

    But for ages in steps, which are all that a request without times has.
    """
    layer = layer_with_weights()
    weight = layer.weight.numpy()
    weight[..., NUMBERS : NUMBERS + len(BUCKETS)] = 0.0
    layer.weight.assign(weight)
    items = np.array([[9, 10, 11, 9, 12, 10]], np.int32)
    times = 1e9 + np.array([[0.0, 0.0, DAY, DAY, DAY, DAY]])
    (expected,) = by_item(*layer(items, times))
    moved = items[:, [1, 0, 5, 4, 3, 2]]
    (received,) = by_item(*layer(moved, times))
    assert received == pytest.approx(expected)


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
    layer.weight.assign(tf.one_hot([[NUMBERS] * len(SIZES)] * TOLD, FEATURES))
    assert bool(layer.voting()) and not layer.trainable_weights
