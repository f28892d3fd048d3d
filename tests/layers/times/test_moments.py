"""What is told of times: in any unit, by the sequence, and left out at random in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers import TimeEmbedding
from tf_syncrec.layers.times.moments import CODES, INPUTS, codes, forget, moments_of

ITEMS = tf.constant([[0, 3, 4], [5, 6, 7], [0, 0, 0], [0, 0, 8]])
NOON = 1_600_000_000.0


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6, 1e9])
def test_times_are_seconds_of_any_unit(unit):
    times = np.array([[9.0, NOON, NOON + 5], [NOON, NOON, NOON + 9], [0, 0, 0], [0, 0, 0]])
    found = moments_of(ITEMS, times * unit, np.array([NOON + 7, 0, NOON, NOON]) * unit)
    seconds = np.array([[np.nan, NOON, NOON + 5], [NOON, NOON, NOON + 9], *[[np.nan] * 3] * 2])
    np.testing.assert_allclose(found.events, seconds, atol=1e-3)
    # Who does not say when the history was is told nothing by the time of the request, unless
    # there is no history.
    np.testing.assert_allclose(np.asarray(found.now), [NOON + 7, np.nan, NOON, np.nan], atol=1e-3)


def test_nothing_is_no_history():
    found = moments_of(tf.zeros([2, 0], tf.int32), np.zeros((2, 0)), np.array([0.0, NOON]))
    assert found.events.shape == (2, 0)
    np.testing.assert_array_equal(np.asarray(found.now), [np.nan, NOON])


def test_hours_and_days_are_those_of_the_calendar():
    """2017-08-07 was a Monday, and 1969-12-31 a Wednesday."""
    monday, before_1970 = 1502064000.0, -3600.0
    times = [[monday, monday + 86399.0, before_1970, monday + 6 * 86400.0]]
    times = tf.constant(times, tf.float64)
    there = tf.ones_like(times, tf.bool)
    found = codes(times, times, times, there, there).numpy()[0, :, 0]
    assert found[:, INPUTS.index("hour")].tolist() == [1, 24, 24, 1]
    assert found[:, INPUTS.index("weekday")].tolist() == [1, 1, 3, 7]
    assert found[:, INPUTS.index("gap")].tolist() == [2] * 4


def test_of_a_training_some_sequences_tell_nothing_and_some_items_not_before():
    segments = tf.repeat(tf.reshape(tf.range(3000), [1500, 2]), 5, axis=1)
    times = NOON + tf.cast(tf.tile(tf.range(10)[None], [1500, 1]), tf.float64)
    moments = moments_of(tf.ones_like(segments), times)
    kept = forget(moments, segments, 0.3, keras.random.SeedGenerator(0))
    told = ~np.isnan(kept.events.numpy())
    np.testing.assert_array_equal(kept.events.numpy()[told], times.numpy()[told])
    whole = told.reshape(1500, 2, 5)
    assert (whole == whole[..., :1]).all(), "a sequence is told or it is not"
    assert np.mean(whole[..., 0]) == pytest.approx(0.7, abs=0.03)
    assert (whole[:, 0] != whole[:, 1]).any(), "sequences of a row have fates of their own"
    due = ~np.isnan(kept.due.numpy())
    assert not (due & ~told).any()
    assert np.mean(due[told]) == pytest.approx(0.7, abs=0.02)


def test_what_is_not_told_adds_nothing_and_learns_nothing():
    layer = TimeEmbedding(INPUTS, 4)
    when = tf.reshape(tf.constant([[0, 0, 0], [5, 0, 2]]), [1, 1, 2, 3])
    layer.build()
    for table in layer.tables:
        assert not table.numpy().any(), "as without it, until it has learned"
        table.assign(tf.random.stateless_normal(table.shape, [1, 2]))
    with tf.GradientTape() as tape:
        found = layer(when)
    gap, hour, weekday = (table.numpy() for table in layer.tables)
    np.testing.assert_allclose(found[0, 0], gap[1, 4] + weekday[1, 1], rtol=1e-6)
    moved = [
        np.argwhere(g.numpy().any(axis=2)).tolist() for g in tape.gradient(found, layer.tables)
    ]
    assert moved == [[[1, 4]], [], [[1, 1]]]
    assert [len(table[0]) for table in layer.tables] == [CODES[name] - 1 for name in INPUTS]
    assert hour.shape == (2, 24, 4)


def test_inputs_have_names():
    with pytest.raises(ValueError, match=r"some of gap, hour, weekday\. Received: 'month'"):
        TimeEmbedding(["month"], 4)
