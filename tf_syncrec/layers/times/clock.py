"""Times of logs as seconds, and the buckets of gaps between them: one place for both."""

import tensorflow as tf

HOUR, DAY = 3600.0, 86400.0
ELAPSED = (
    *(1.0, 600.0, HOUR, 6 * HOUR, 18 * HOUR, 30 * HOUR),
    *(DAY * days for days in (3, 6, 8, 13, 15, 27, 32, 64, 128, 256)),
)
"""Where the buckets of times begin, in seconds, after the first, which is the same moment. What
people do daily or weekly has a bucket of its own."""

UNITS = ((0.0, 1.0), (1e11, 1e-3), (1e14, 1e-6), (1e17, 1e-9))
"""From what size on times are in a unit, and how many seconds that is: true from 1973 to 5138."""

FIRST_WEEKDAY = 3
"""Of 1 January 1970, a Thursday; Monday is 0."""


def bucket(values, begins):
    """Which of the buckets each value is in, int32 of its shape; -1 before all of them."""
    flat = tf.reshape(values, [-1])
    found = tf.searchsorted(tf.constant(begins, flat.dtype), flat, side="right") - 1
    return tf.reshape(found, tf.shape(values))


def unit(times):
    """How many seconds the unit of each time is, by its size."""
    begins, seconds = zip(*UNITS, strict=True)
    return tf.gather(tf.constant(seconds, times.dtype), bucket(tf.abs(times), begins))


def hour_of_day(seconds):
    """From 0 to 23, UTC, int32; of seconds since 1970."""
    return tf.cast(tf.math.floormod(seconds, DAY) // HOUR, tf.int32)


def day_of_week(seconds):
    """From 0, Monday, to 6, UTC, int32; of seconds since 1970."""
    days = tf.math.floor(seconds / DAY) + FIRST_WEEKDAY
    return tf.cast(tf.math.floormod(days, 7.0), tf.int32)
