"""CAT-ART: users' vectors of all domains, encoded as one and attended to (WSDM 2023)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import item_domains
from tf_syncrec.layers.experts import StackedGlorotUniform
from tf_syncrec.models.cross_domain.users.by_domain import UsersByDomain

TEMPERATURE = 0.1
"""Of the contrast between users, as published."""


class CATARTLosses(NamedTuple):
    """What one batch costs.

    Attributes:
        total: what is minimised, scalar: the sum of the others.
        prediction: mean over targets, scalar.
        reconstruction: of users' vectors, whole and masked, mean over users, scalar.
        contrast: between a user and the same one masked, mean over users, scalar.
    """

    total: tf.Tensor
    prediction: tf.Tensor
    reconstruction: tf.Tensor
    contrast: tf.Tensor


class ContrastiveAutoencoder(keras.layers.Layer):
    """CAT: one vector of a user that says what those of all domains say, or of some of them.

    Args:
        num_domains: |D|.
        dim: r.
        mask_rate: share of the domains that are hidden from the encoder, in [0, 1).
    """

    def __init__(self, num_domains, dim, mask_rate, **kwargs):
        super().__init__(**kwargs)
        self.num_domains, self.dim, self.mask_rate = num_domains, dim, mask_rate
        self._seed = keras.random.SeedGenerator()

        def network(*widths):
            """Dense layers with PReLU between them."""
            layers = []
            for number, width in enumerate(widths, start=1):
                layers.append(keras.layers.Dense(width, dtype=self.dtype_policy))
                if number < len(widths):
                    layers.append(keras.layers.PReLU(dtype=self.dtype_policy))
            return layers

        self.encoder = network(5 * dim, 3 * dim, dim)
        self.decoder = network(3 * dim, 5 * dim, num_domains * dim)

    def build(self, input_shape=None):
        """Creates the weights; what stands for a domain that is hidden is one of them."""
        width = self.num_domains * self.dim
        for layers, first in ((self.encoder, width), (self.decoder, self.dim)):
            shape: tuple = (None, first)
            for layer in layers:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        self.hidden = self.add_weight(
            shape=(self.dim,),
            initializer=keras.initializers.RandomNormal(stddev=self.dim**-0.5),
            name="hidden",
        )
        self.built = True

    def call(self, users):
        """The global vectors, `[users, dim]`, of `[users, domains, dim]`."""
        return self._through(self.encoder, users)

    def losses_of(self, users, rows, training=None):
        """What an encoding costs each user.

        Args:
            users: `[users, domains, dim]`.
            rows: `[users]` int32, who each is: nobody is contrasted with themselves.
            training: whether domains are hidden.

        Returns:
            Reconstruction and contrast, each `[users]` float32.
        """
        masked = users
        if training:
            drawn = keras.random.uniform(tf.shape(users)[:2], seed=self._seed)
            hidden = tf.cast(tf.convert_to_tensor(self.hidden), users.dtype)
            masked = tf.where((drawn < self.mask_rate)[..., None], hidden, users)
        target = tf.reshape(users, [-1, self.num_domains * self.dim])
        first, second = (self._through(self.encoder, each) for each in (users, masked))
        reconstruction = tf.add_n(
            [
                tf.reduce_mean(tf.square(self._through(self.decoder, each) - target), axis=1)
                for each in (first, second)
            ]
        )
        return tf.cast(reconstruction, tf.float32), contrast(first, second, rows)

    def _through(self, layers, x):
        x = tf.reshape(x, [tf.shape(x)[0], -1])
        x = tf.ensure_shape(x, [None, layers[0].kernel.shape[0]])
        for layer in layers:
            x = layer(x)
        return x


def contrast(first, second, rows):
    """InfoNCE by cosine, in both directions.

    Args:
        first: `[users, dim]`.
        second: the same users, seen otherwise.
        rows: `[users]` int32, who each is.

    Returns:
        `[users]` float32.
    """
    unit = (tf.math.l2_normalize(tf.cast(each, tf.float32), axis=1) for each in (first, second))
    scores = tf.matmul(*unit, transpose_b=True) / TEMPERATURE
    twice = (rows[:, None] == rows) & ~tf.eye(tf.shape(rows)[0], dtype=tf.bool)
    scores = tf.where(twice, tf.float32.min / 2, scores)
    own = tf.linalg.diag_part(scores)
    return (tf.reduce_logsumexp(scores, axis=0) + tf.reduce_logsumexp(scores, axis=1)) / 2 - own


@keras.saving.register_keras_serializable("tf_syncrec")
class CATART(UsersByDomain):
    """One vector a user and domain; what the others say of the user is added by attention.

    CAT encodes the vectors of a user into a global one, g. ART adds to the vector of the domain
    that is asked for what it finds by attention in those of the other domains and in g, each
    through a matrix of its own::

        y_d = u_d + Attention(u_d, {A_e u_e for e other than d} and {A_0 g})

    The authors train matrix factorisation in every domain, then CAT on these vectors, then ART with
    the vectors of other domains and CAT left as they are. Here all is one training, with
    stop-gradients where they freeze: u_d learns from the targets of d alone, CAT from its own
    losses alone. Loss and negatives of the prediction are everybody's. Left out: the weights of
    the authors' losses, which change nothing here, as no weight learns from two of them. The
    encoder reads all domains, so that in a training that goes on a new domain changes all answers.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        mask_rate: of CAT, share of the domains that are hidden.
        kwargs: as in `MultiDomainModel`.

    Reference: One for All, All for One: Learning and Transferring User Embeddings for Cross-Domain
    Recommendation (WSDM 2023, arXiv 2211.11964).
    """

    def __init__(self, domain_sizes, user_ids, *, mask_rate=0.3, **kwargs):
        super().__init__(domain_sizes, user_ids, **kwargs)
        part = {"dtype": self.dtype_policy}
        dim, count = self.dim, self.num_domains
        self.autoencoder = ContrastiveAutoencoder(count, dim, mask_rate, **part)
        self.autoencoder.build()
        # What belongs to no domain, g, stands first.
        self.adapters = self.add_weight(
            shape=(1 + count, dim, dim), initializer=StackedGlorotUniform(), name="adapters"
        )
        self.attention = keras.layers.MultiHeadAttention(1, dim, use_bias=False, **part)
        self.attention.build((None, None, dim), (None, None, dim))

    @property
    def reported(self):
        """As in `MultiDomainModel`."""
        names = ("prediction", "reconstruction", "contrast")
        return {"loss": "total"} | {f"loss_{name}": name for name in names}

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"mask_rate": self.autoencoder.mask_rate}

    def of_domains(self, rows):
        """As in `UsersByDomain`."""
        return self.transferred(self.own_vectors(rows))

    def transferred(self, users):
        """ART: `[users, domains, dim]`, in each domain with what the others say."""
        users = tf.cast(users, self.compute_dtype)
        others = tf.stop_gradient(users)
        sources = tf.concat([tf.stop_gradient(self.autoencoder(others))[:, None], others], axis=1)
        adapters = tf.cast(tf.convert_to_tensor(self.adapters), users.dtype)
        sources = tf.einsum("bni,nio->bno", sources, adapters)
        seen = tf.concat([tf.ones([self.num_domains, 1]), 1.0 - tf.eye(self.num_domains)], axis=1)
        return users + self.attention(users, sources, attention_mask=seen[None] > 0)

    def batch_losses(  # type: ignore[override]
        self, items, segments=None, training=True, timestamps=None, user_id=None
    ) -> CATARTLosses:
        """As in `BPRMF`, and what CAT costs."""
        prediction = super().batch_losses(items, training=training, user_id=user_id).total
        rows = self._lookup.lookup(user_id)
        users = self.own_vectors(rows)
        domains = item_domains(items, self.offsets)
        known = tf.cast(tf.reduce_any(domains >= 0, axis=1), tf.float32)
        count = over_replicas(tf.reduce_sum(known))
        reconstruction, contrasted = (
            tf.math.divide_no_nan(tf.reduce_sum(known * loss), count)
            for loss in self.autoencoder.losses_of(
                tf.stop_gradient(tf.cast(users, self.compute_dtype)), rows, training=training
            )
        )
        total = prediction + reconstruction + contrasted
        return CATARTLosses(total, prediction, reconstruction, contrasted)
