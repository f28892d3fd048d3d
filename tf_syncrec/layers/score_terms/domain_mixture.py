"""How scores of different domains compare: one distribution over the items of all domains."""

import keras
import tensorflow as tf

from tf_syncrec.layers.views import item_domains

DECAYS = (0.0, 0.8, 1.0)
"""How a history counts the domains: the last interaction alone, the latest ones, all alike."""

NO_ITEM = -1e9
"""Log-probability of a domain without items: finite, as 0 times infinity is no number."""


@keras.saving.register_keras_serializable("tf_syncrec")
class DomainMixture(keras.layers.Layer):
    """A mixture of the domains' softmaxes: `P(i | history) = P(d | history) P(i | d, history)`.

    Training compares an item with others of its domain alone, so a score says how likely items of
    a domain are next to each other, and nothing of another domain. Here

    `log P(i | d, h) = a_d s_i - log sum over the candidates j of d of exp(a_d s_j)`

    `P(d | h) = softmax over d of (b_d + w · features of d in h)`

    with s the score within the domain, votes included. The features say how much of the history is
    of the domain, and are few, as all domains share w. `scoring.mixture` fits a, b and w on
    validation. Until then a is 1, and all domains are equally likely. No gradient.

    Args:
        domain_sizes: items of each domain; ids are contiguous by domain from 1.

    ```python
    mixture = DomainMixture([4, 0, 3])
    log_domains = mixture.log_domains(tf.constant([[0, 2, 6]]))  # (1, 3), log .5, -1e9, log .5
    scores = tf.constant([[2.0, 1.0, 0.0, -1.0]])  # of the items of domain 0
    totals = mixture.log_totals(scores, 0)  # (1,)
    mixture(scores, log_domains, totals, domain=0)  # (1, 4); their exp add up to .5
    ```
    """

    def __init__(self, domain_sizes, **kwargs):
        super().__init__(**kwargs)
        self.domain_sizes = tuple(map(int, domain_sizes))

    def build(self, input_shape=None):
        """Creates a and b, `[domains]`, and w, `[features]`."""

        def state(size, initializer, name):
            return self.add_weight(
                shape=(size,), initializer=initializer, trainable=False, name=name
            )

        self.sharpness = state(len(self.domain_sizes), "ones", "sharpness")
        self.bias = state(len(self.domain_sizes), "zeros", "bias")
        self.of_features = state(len(DECAYS) + 1, "zeros", "of_features")
        self.built = True

    def features(self, items):
        """How much of a history is of each domain.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.

        Returns:
            `[batch, domains, features]` float32: of each of `DECAYS` the log of 1 + the number of
            interactions, one with `age` later ones counting decay^age; and whether there are any.
        """
        items, sizes = tf.convert_to_tensor(items), tf.constant(self.domain_sizes)
        (batch, length), num_domains = tf.unstack(tf.shape(items)), len(self.domain_sizes)
        domains = item_domains(items, 1 + tf.cumsum(sizes) - sizes)
        # Each row has a place for padding after those of its domains.
        places = tf.where(items > 0, domains, num_domains)
        places += tf.range(batch)[:, None] * (num_domains + 1)
        ages = tf.cast(tf.range(length)[::-1], tf.float32)
        weights = tf.pow(tf.constant(DECAYS)[None], ages[:, None])  # (length, decays); 0^0 is 1
        counts = tf.math.unsorted_segment_sum(
            tf.tile(weights, [batch, 1]), tf.reshape(places, [-1]), batch * (num_domains + 1)
        )
        counts = tf.reshape(counts, [batch, num_domains + 1, len(DECAYS)])[:, :-1]
        any_at_all = tf.cast(counts[..., -1:] > 0, tf.float32)
        return tf.concat([tf.math.log1p(counts), any_at_all], axis=2)

    def log_domains(self, items):
        """Log P(d | h), `[batch, domains]` float32; `NO_ITEM` where a domain has no items.

        Args:
            items: as in `features`.
        """
        logits = tf.einsum("bdf,f->bd", self.features(items), self.of_features.value)
        empty = tf.constant(self.domain_sizes) == 0
        return tf.nn.log_softmax(tf.where(empty, NO_ITEM, logits + self.bias.value))

    def log_totals(self, scores, domain: int):
        """Log of what the candidates of a domain add up to, `[rows]`.

        Args:
            scores: `[rows, size]` float32, of all items of the domain, -inf where one is no
                candidate; where none is, the result is 0.
            domain: which.
        """
        totals = tf.reduce_logsumexp(self.sharpness.value[domain] * scores, axis=1)
        return tf.where(tf.math.is_finite(totals), totals, 0.0)

    def call(self, scores, log_domains, log_totals, domain: int):
        """Log P(i | h) of some items of a domain, `[rows, any]`.

        Args:
            scores: `[rows, any]` float32, within the domain.
            log_domains: `[rows, domains]`, of the method.
            log_totals: `[rows]`, likewise.
            domain: which.
        """
        offsets = log_domains[:, domain] - log_totals
        return self.sharpness.value[domain] * scores + offsets[:, None]

    def load_own_variables(self, store):
        """As Keras does; nothing where a file is of a version without it."""
        if store.keys():
            super().load_own_variables(store)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"domain_sizes": list(self.domain_sizes)}
