"""Coming back to what one had: a term of the score for the items of a user's history."""

import keras
import tensorflow as tf

from tf_syncrec.layers.views import item_domains

BUCKETS = tuple(2**n - 1 for n in range(13))
"""Where the buckets of ages begin: 0, 1-2, 3-6, 7-14, ..., and 4095 or more."""

FEATURES = 2 + len(BUCKETS)


@keras.saving.register_keras_serializable("tf_syncrec")
class RepeatConsumption(keras.layers.Layer):
    """What an item's score gains, or loses, since it stands in the history.

    `r(c | h) = w_d · x(c, h)` for the items c of h, 0 for all others. d is the domain of c, and x

    - the log of how often h has c: what one uses most;
    - the log of how often people come back to c, counted over the training users of c: milk is
      bought again, a pan is not;
    - which of `BUCKETS` holds the number of interactions in d after the latest one with c: what one
      used last. A weight for each, as more is not always better: what is in the basket already is
      not put there twice.

    All of a history counts, however long it is, while the network reads the last T of it. In steps
    and not in time, since who asks for a recommendation need not say when things were done.
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
        super().__init__(**kwargs)
        self.domain_sizes = tuple(map(int, domain_sizes))

    def build(self, input_shape=None):
        """Creates w, `[domains, features]`, and how often people come back, `[items + 1]`."""
        self.weight = self.add_weight(
            shape=(len(self.domain_sizes), FEATURES),
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

    def call(self, items):
        """What each item of a history gains.

        Args:
            items: `[batch, length]` int32, whole histories, oldest first, padded with 0.

        Returns:
            Item ids, each item of a history once, and 0 in the other places; what their scores
            gain: each `[batch, length]`, int32 and float32.
        """
        counted = self.features(items)
        return counted[0], self.gains(counted, self.weight.value)

    def gains(self, counted, weight):
        """What scores gain, `[batch, length]` float32, of what `features` returned and any w."""
        ids, numbers, buckets = counted
        weight = tf.gather(weight, tf.maximum(self._domains(ids), 0))
        of_numbers = tf.reduce_sum(numbers * weight[..., :2], axis=-1)
        of_ages = tf.gather(weight[..., 2:], buckets, batch_dims=2)
        return tf.where(ids > 0, of_numbers + of_ages, 0.0)

    def features(self, items):
        """The features x of each item of a history.

        Args:
            items: as in `call`.

        Returns:
            Ids as in `call`; the features that are numbers, `[batch, length, 2]` float32; which of
            the others is 1, `[batch, length]` int32. In places without an item they are anything.
        """
        ids, counts, ages = self.counted(items)
        numbers = [tf.math.log(counts), tf.gather(self.log_returns.value, ids)]
        buckets = tf.searchsorted(tf.constant(BUCKETS), tf.reshape(ages, [-1]), side="right") - 1
        return ids, tf.stack(numbers, axis=-1), tf.reshape(buckets, tf.shape(ages))

    def counted(self, items):
        """What is counted of each item of a history.

        Args:
            items: as in `call`.

        Returns:
            Ids as in `call`; how often the history has them; interactions in their domain after the
            latest one with them: each `[batch, length]`, the second float32 and from 1.
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
        return tf.where(latest, ids, 0), tf.cast(ends - begins, tf.float32), ages

    def _domains(self, items):
        sizes = tf.constant(self.domain_sizes)
        return item_domains(items, 1 + tf.cumsum(sizes) - sizes)

    def compute_output_shape(self, input_shape):
        return input_shape, input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"domain_sizes": list(self.domain_sizes)}
