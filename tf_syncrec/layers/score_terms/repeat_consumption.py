"""Coming back to what one had: a term of the score for the items of a user's history."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.layers.times.clock import DAY, ELAPSED, HOUR, bucket, unit
from tf_syncrec.layers.views import item_domains

BUCKETS = tuple(2**n - 1 for n in range(13))
"""Where the buckets of ages begin: 0, 1-2, 3-6, 7-14, ..., and 4095 or more."""

NEARBY = 1.5 * HOUR
"""Uses no further from an hour of the day than this are uses at that hour."""

NUMBERS = 4
FEATURES = NUMBERS + len(BUCKETS) + len(ELAPSED) + 1

TOLD = 3
"""What a request tells: 0, the order of a history; 1, also when each was; 2, also its own time."""


class Counted(NamedTuple):
    """The features x of each item of each history; of places without an item they are anything.

    Attributes:
        ids: item ids, each item of a history once, and 0 in the other places, `[batch, length]`.
        numbers: the features that are numbers, `[batch, length, NUMBERS]` float32.
        buckets: which of the others are 1, places of w, `[batch, length, 2]` int32.
        told: which of `TOLD` each row tells, `[batch]` int32.
    """

    ids: tf.Tensor
    numbers: tf.Tensor
    buckets: tf.Tensor
    told: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class RepeatConsumption(keras.layers.Layer):
    """What an item's score gains, or loses, since it stands in the history.

    `r(c | h) = w_d · x(c, h)` for the items c of h, 0 for all others. d is the domain of c, and x

    - the log of how often h has c: what one uses most;
    - the log of how often people come back to c, counted over the training users of c: milk is
      bought again, a pan is not;
    - which of `BUCKETS` holds the number of interactions in d after the latest one with c: what one
      used last. A weight for each, as more is not always better: what is in the basket already is
      not put there twice;
    - which bucket of `ELAPSED` holds the time since the latest one with c: what is of the moment at
      hand, the last basket, is in the first; and where a request tells no times, all is;
    - how much more often than by chance c was had at this hour of the day, and on this day of the
      week, as logs; without times 0.

    Time is counted until the request (`now`), if it tells that, or else until the latest
    interaction. What is told decides what is likely: w is another one for each of `TOLD`.

    All of a history counts, however long it is, while the network reads the last T of it.
    `scoring.repeats` fits w on validation, in the domains to which people come back
    (`Catalogue.repeats`); until then it is 0. No gradient.

    Args:
        domain_sizes: items of each domain; ids are contiguous by domain from 1.

    References:
        - [The Dynamics of Repeat Consumption](https://doi.org/10.1145/2566486.2568018)

    ```python
    repeats = RepeatConsumption([4, 3])
    ids, gains = repeats(tf.constant([[0, 2, 6, 2]]))  # each (1, 4); ids 0, 0, 2, 6; gains of 0
    ```
    """

    def __init__(self, domain_sizes, **kwargs):
        # A time in seconds has more digits than float32.
        super().__init__(autocast=False, **kwargs)
        self.domain_sizes = tuple(map(int, domain_sizes))

    def build(self, input_shape=None):
        """Creates w, `[TOLD, domains, features]`, and how often people return, `[items + 1]`."""
        self.weight = self.add_weight(
            shape=(TOLD, len(self.domain_sizes), FEATURES),
            initializer="zeros",
            trainable=False,
            name="weight",
        )
        self.log_returns = self.add_weight(
            shape=(sum(self.domain_sizes) + 1,),
            initializer="zeros",
            trainable=False,
            name="log_returns",
        )
        self.built = True

    def reset(self):
        """Nothing is gained, as before w is fitted."""
        self.weight.assign(tf.zeros_like(self.weight))

    def voting(self):
        """Whether it says anything at all, a bool tensor."""
        return tf.reduce_any(self.weight.value != 0)

    def timed(self):
        """Whether times have a say, a bool tensor."""
        return tf.reduce_any(self.weight.value[1:] != 0)

    def call(self, items, timestamps=None, now=None):
        """What each item of a history gains.

        Args:
            items: `[batch, length]` int32, whole histories, oldest first, padded with 0.
            timestamps: `[batch, length]` float64, when they were; a row of 0 tells nothing. In
                seconds since 1970, or milli-, micro- or nanoseconds: which, their size says.
            now: `[batch]` float64, when the request is; 0 tells nothing.

        Returns:
            Item ids, each item of a history once, and 0 in the other places; what their scores
            gain: each `[batch, length]`, int32 and float32.
        """
        counted = self.features(items, timestamps, now)
        return counted.ids, self.gains(counted, self.weight.value)

    @tf.function(
        autograph=False,
        input_signature=[
            Counted(
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None, NUMBERS], tf.float32),
                tf.TensorSpec([None, None, 2], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ),
            tf.TensorSpec([TOLD, None, FEATURES], tf.float32),
        ],
    )
    def gains(self, counted: Counted, weight):
        """What scores gain, `[batch, length]` float32, with any w."""
        table = tf.reshape(weight, [-1, FEATURES])
        domains = tf.maximum(self._domains(counted.ids), 0)
        rows = counted.told[:, None] * len(self.domain_sizes) + domains
        weight = tf.gather(table, rows)
        of_numbers = tf.reduce_sum(counted.numbers * weight[..., :NUMBERS], axis=-1)
        of_buckets = tf.reduce_sum(tf.gather(weight, counted.buckets, batch_dims=2), axis=-1)
        return tf.where(counted.ids > 0, of_numbers + of_buckets, 0.0)

    def features(self, items, timestamps=None, now=None) -> Counted:
        """The features x of each item of each history; arguments as of `call`."""
        items = tf.cast(items, tf.int32)
        if timestamps is None:
            timestamps = tf.zeros(tf.shape(items), tf.float64)
        if now is None:
            now = tf.zeros(tf.shape(items)[:1], tf.float64)
        return self._features(items, tf.cast(timestamps, tf.float64), tf.cast(now, tf.float64))

    # Traced, as `gains` is: one operation at a time costs more than what is computed.
    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.float64),
            tf.TensorSpec([None], tf.float64),
        ],
    )
    def _features(self, items, timestamps, now) -> Counted:
        ids, counts, ages, order = self.counted(items)
        ago, told = _ago(items, timestamps, now)
        ago = tf.gather(ago, order, batch_dims=1)
        timed = tf.cast(told > 0, tf.float32)[:, None]
        numbers = [tf.math.log(counts), tf.gather(self.log_returns.value, ids)]
        for period, near in ((DAY, NEARBY), (7 * DAY, DAY / 2)):
            numbers.append(timed * _rhythm(ago, counts, period, near))
        elapsed = NUMBERS + len(BUCKETS) + 1 + bucket(ago, ELAPSED)  # of rows without times, 0
        buckets = [NUMBERS + bucket(ages, BUCKETS), elapsed]
        return Counted(ids, tf.stack(numbers, axis=-1), tf.stack(buckets, axis=-1), told)

    def counted(self, items):
        """What is counted of each item of a history.

        Args:
            items: as in `call`.

        Returns:
            Ids as in `call`; how often the history has them; interactions in their domain after the
            latest one with them; of each place, where in the history it was: each
            `[batch, length]`, the second float32 and from 1. Equal items stand together, in the
            order of the history, and the last of them is the place of all.
        """
        items = tf.convert_to_tensor(items)
        domains = self._domains(items)
        # Side by side by domain, in the order of time (sorting keeps the order of equals).
        by_domain = tf.argsort(domains, axis=1, stable=True)
        ordered = tf.gather(domains, by_domain, batch_dims=1)
        ends = tf.searchsorted(ordered, ordered, side="right")
        ages = ends - 1 - tf.range(tf.shape(items)[1])[None]
        ages = tf.gather(ages, tf.argsort(by_domain, axis=1), batch_dims=1)

        by_item = tf.argsort(items, axis=1, stable=True)
        ids, ages = (tf.gather(x, by_item, batch_dims=1) for x in (items, ages))
        begins = tf.searchsorted(ids, ids, side="left")
        ends = tf.searchsorted(ids, ids, side="right")
        latest = tf.range(tf.shape(items)[1])[None] == ends - 1
        return tf.where(latest, ids, 0), tf.cast(ends - begins, tf.float32), ages, by_item

    def _domains(self, items):
        sizes = tf.constant(self.domain_sizes)
        return item_domains(items, 1 + tf.cumsum(sizes) - sizes)

    def compute_output_shape(self, input_shape):
        return input_shape, input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"domain_sizes": list(self.domain_sizes)}


def _ago(items, timestamps, now):
    """How long ago each interaction was, `[batch, length]` seconds; what each row tells."""
    known = items > 0
    timestamps = tf.where(known, timestamps, 0.0)
    timed = tf.reduce_any(timestamps != 0, axis=1)
    latest = tf.reduce_max(tf.where(known, timestamps, timestamps.dtype.min), axis=1)
    latest = tf.where(timed, latest, 0.0)
    asked = timed & (now != 0)
    until = tf.where(asked, now, latest)
    told = tf.cast(timed, tf.int32) + tf.cast(asked, tf.int32)
    return tf.where(known, until[:, None] - timestamps, 0.0) * unit(latest)[:, None], told


def _rhythm(ago, counts, period, near):
    """Log of how much more often than by chance an item was had at this time of a period.

    Args:
        ago: `[batch, length]` seconds; those of equal items stand together.
        counts: how many these are, `[batch, length]` float32.
        period: seconds, after which it is the same time again.
        near: seconds, up to which it is the same time.

    Returns:
        `[batch, length]` float32, of the last of equal items what is of all of them.
    """
    phase = tf.math.floormod(ago, period)
    hits = tf.cast(tf.minimum(phase, period - phase) <= near, tf.float32)
    sums = tf.pad(tf.cumsum(hits, axis=1), [[0, 0], [1, 0]])
    before = tf.maximum(tf.range(tf.shape(counts)[1])[None] + 1 - tf.cast(counts, tf.int32), 0)
    hits = sums[:, 1:] - tf.gather(sums, before, batch_dims=1)
    return tf.math.log((hits + 0.5) / (counts * (2 * near / period) + 0.5))
