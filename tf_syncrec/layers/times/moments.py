"""What each slot of a view is told of times: of its own event, and of the one it predicts."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.layers.times.clock import ELAPSED, bucket, day_of_week, hour_of_day, unit

UNKNOWN = 0
"""Code of what is not told: of an event whose time is unknown, and of no event."""

FIRST = 1
"""Code of a gap to nothing: there is no event before."""

CODES = {"gap": 2 + 1 + len(ELAPSED), "hour": 1 + 24, "weekday": 1 + 7}
"""How many codes each input has; `UNKNOWN` is one of them."""

INPUTS = tuple(CODES)


class Times(NamedTuple):
    """What a request tells of times, in the unit of the log.

    Attributes:
        timestamps: `[batch, length]` float64, when the items of the histories were; a row of 0
            tells nothing.
        now: `[batch]` float64, when the requests are; 0 tells nothing.
    """

    timestamps: tf.Tensor
    now: tf.Tensor


class Moments(NamedTuple):
    """Times of a batch of histories, in seconds since 1970; NaN where they are not told.

    Attributes:
        events: `[batch, length]` float64, when each interaction was.
        due: `[batch, length]` float64, the same as far as the slot that predicts it is told.
        now: `[batch]` float64, when the requests are; None in training.
    """

    events: tf.Tensor
    due: tf.Tensor
    now: tf.Tensor | None = None


def moments_of(items, timestamps, now=None) -> Moments:
    """Times of histories as they are told.

    Args:
        items: `[batch, length]` int32, padded with 0.
        timestamps: `[batch, length]` float, in seconds since 1970, or milli-, micro- or
            nanoseconds: which, the latest of a row says by its size. A row of 0 tells nothing.
        now: `[batch]` float, likewise; 0 tells nothing, nor does a time where those of the history
            are not told. None in training.
    """
    known = items > 0
    times = tf.where(known, tf.cast(timestamps, tf.float64), 0.0)
    told = tf.reduce_any(times != 0, axis=1)
    size = tf.maximum(tf.reduce_max(tf.abs(times), axis=1), 0.0)  # of an empty row, too
    if now is not None:
        now = tf.cast(now, tf.float64)
        asked = (now != 0) & (told | ~tf.reduce_any(known, axis=1))
        size = tf.where(told, size, tf.abs(now))
        now = _or_nan(asked, now * unit(size))
    events = _or_nan(known & told[:, None], times * unit(size)[:, None])
    return Moments(events, events, now)


def _or_nan(told, seconds):
    return tf.where(told, seconds, tf.constant(float("nan"), seconds.dtype))


def forget(moments: Moments, segments, rate: float, seeds: keras.random.SeedGenerator) -> Moments:
    """Leaves out times of a training at random, so that a network learns to do without.

    Of a part of the sequences no time is told at all. Of the others those of the history are, as
    who knows them knows all, and of a part of the slots when what they predict was is not.

    Args:
        moments: of `moments_of`.
        segments: `[batch, length]` int32, the sequence of each item, counted over the batch, -1 at
            padding.
        rate: both parts, from 0 to 1.
        seeds: what is drawn by.
    """
    count = tf.maximum(tf.reduce_max(segments), -1) + 1
    whole = keras.random.uniform([tf.maximum(count, 1)], seed=seeds) >= rate
    whole = tf.gather(whole, tf.maximum(segments, 0))
    asked = keras.random.uniform(tf.shape(segments), seed=seeds) >= rate
    return moments._replace(
        events=_or_nan(whole, moments.events), due=_or_nan(whole & asked, moments.due)
    )


def codes(own, before, due, is_event, has_before):
    """What slots are told, as numbers of rows of tables.

    Args:
        own: `[batch, slots]` float64 seconds, when the event of each slot was; NaN: not told.
        before: likewise, the event before it in the view.
        due: likewise, the event that the slot predicts.
        is_event: `[batch, slots]` bool, whether the slot has an event, and no start token.
        has_before: likewise, whether there is one before it.

    Returns:
        `[batch, slots, 2, 3]` int32: of the event and of the one that it predicts, the `INPUTS`.
    """
    gaps = tf.where(has_before, own - before, 0.0), tf.where(is_event, due - own, 0.0)
    of_both = []
    for time, gap, follows in zip((own, due), gaps, (has_before, is_event), strict=True):
        told = ~tf.math.is_nan(time)
        seconds = tf.where(told, time, 0.0)
        passed = 3 + bucket(tf.where(tf.math.is_nan(gap), tf.zeros_like(gap), gap), ELAPSED)
        found = (
            tf.where(follows, tf.where(tf.math.is_nan(gap), UNKNOWN, passed), FIRST),
            1 + hour_of_day(seconds),
            1 + day_of_week(seconds),
        )
        of_both.append(tf.stack([tf.where(told, each, UNKNOWN) for each in found], axis=-1))
    ours, theirs = of_both
    return tf.stack([tf.where(is_event[..., None], ours, UNKNOWN), theirs], axis=2)
