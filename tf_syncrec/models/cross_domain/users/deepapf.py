"""DeepAPF: what a user likes on all sites and on one, by attention (Yan et al., IJCAI 2019)."""

import keras
import tensorflow as tf

from tf_syncrec.models.cross_domain.users.by_domain import UsersByDomain


@keras.saving.register_keras_serializable("tf_syncrec")
class DeepAPF(UsersByDomain):
    """A common vector of a user and one a site, here a domain, weighed by attention.

    With c the user's common interests and s_d those of domain d, ::

        a_x = h · ReLU(W x + b)   for x = c and x = s_d
        y_d = p * (softmax(a)_c c + softmax(a)_s s_d)

    and the score of an item v is y_d · v, which is the paper's `p · (u * v)`. W, b, h and p are
    those of all domains. With more than two nothing changes: each has its own s.

    Otherwise than in the paper, attention looks at the user, x, and not at x * v: then a query is
    the same for all items, and ranking them all is one product. Weights by item cost what users x
    items x r cost, as in `CARCA`. A user without items in a domain has a random s there. Loss and
    negatives are everybody's.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        kwargs: as in `MultiDomainModel`.

    Reference: [DeepAPF: Deep Attentive Probabilistic Factorization for Multi-site Video
    Recommendation](https://doi.org/10.24963/ijcai.2019/202), IJCAI 2019.
    """

    def __init__(self, domain_sizes, user_ids, **kwargs):
        super().__init__(domain_sizes, user_ids, **kwargs)
        part = {"dtype": self.dtype_policy}
        self.hidden = keras.layers.Dense(self.dim, activation="relu", **part)
        self.logit = keras.layers.Dense(1, use_bias=False, **part)
        for layer in (self.hidden, self.logit):
            layer.build((None, self.dim))
        self.output_weights = self.add_weight(
            shape=(self.dim,), initializer="ones", name="output_weights"
        )

    @property
    def user_width(self) -> int:
        """As in `BPRMF`: what is common stands first, then one vector a domain."""
        return (1 + self.num_domains) * self.dim

    def attention(self, parts):
        """How much each part of a user counts.

        Args:
            parts: `[batch, 1 + domains, dim]`: c, then s of each domain.

        Returns:
            `[batch, domains, 2]`, of c and of s, which sum to 1.
        """
        logits = self.logit(self.hidden(parts))[..., 0]
        of_own = logits[:, 1:]
        of_common = tf.broadcast_to(logits[:, :1], tf.shape(of_own))
        return tf.nn.softmax(tf.stack([of_common, of_own], axis=2))

    def of_domains(self, rows):
        """As in `UsersByDomain`."""
        parts = tf.cast(self.own_vectors(rows), self.compute_dtype)
        weights = self.attention(parts)
        y = weights[..., :1] * parts[:, :1] + weights[..., 1:] * parts[:, 1:]
        return tf.cast(tf.convert_to_tensor(self.output_weights), y.dtype) * y
