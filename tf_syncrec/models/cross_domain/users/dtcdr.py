"""DTCDR: a user's vectors of all domains are combined, then read by towers (CIKM 2019)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import item_domains
from tf_syncrec.models.cross_domain.stacked_mlp import StackedMLP
from tf_syncrec.models.cross_domain.users.by_domain import UsersByDomain

COMBINED = ("max", "mean", "concat")
"""How the vectors of a user become one."""


@keras.saving.register_keras_serializable("tf_syncrec")
class DTCDR(UsersByDomain):
    """Dual-target recommendation: domains share a user's vectors, and read them in their own way.

    With u_d what a user is in domain d, ::

        u = max over d of u_d, by element; or their mean; or all of them, one after the other
        score in d of its item v = f_d(u) · g_d(v)

    f_d and g_d are towers of domain d with one hidden layer of width 2r. This is the paper's
    framework over DMF, whose score is the cosine of two towers, and not over NeuMF, whose tower
    reads user and item together: so a query is the same for all items, and ranking them all is one
    product. In the paper there are two domains; combining takes any number. A vector learns from
    the targets of all domains, also that of a domain in which the user has no items.

    Left out: documents (reviews, profiles), whose embeddings are combined in the same way, and
    whose place our item attributes take; u_d and v as what linear maps make of rows and columns of
    the ratings, in place of which they are free. Loss and negatives are everybody's. In a training
    that goes on a new domain changes all answers.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        combine: `"max"`, `"mean"` or `"concat"`.
        kwargs: as in `MultiDomainModel`.

    Reference: [DTCDR: A Framework for Dual-Target Cross-Domain Recommendation](
    https://doi.org/10.1145/3357384.3357992), CIKM 2019.
    """

    def __init__(self, domain_sizes, user_ids, *, combine="max", **kwargs):
        super().__init__(domain_sizes, user_ids, **kwargs)
        if combine not in COMBINED:
            raise ValueError(f"combine must be one of {', '.join(COMBINED)}. Received: {combine!r}")
        self.combine = combine
        width = self.user_width if combine == "concat" else self.dim
        part = {"dtype": self.dtype_policy}
        self.user_towers, self.item_towers = (
            StackedMLP(self.num_domains, size, 2 * self.dim, self.dim, **part)
            for size in (width, self.dim)
        )
        self.user_towers.build()
        self.item_towers.build()

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"combine": self.combine}

    def of_domains(self, rows):
        """As in `UsersByDomain`."""
        users = tf.cast(self.own_vectors(rows), self.compute_dtype)
        if self.combine == "concat":
            users = tf.reshape(users, [-1, self.user_width])
        else:
            users = (tf.reduce_max if self.combine == "max" else tf.reduce_mean)(users, axis=1)
        return tf.transpose(self.user_towers(users[None]), [1, 0, 2])

    def item_vectors(self, items, of_batch=True):
        """As in `MultiDomainModel`: what the tower of its domain makes of an item."""
        vectors = tf.reshape(self.embedding.embed_items(items, of_batch=of_batch), [-1, self.dim])
        return tf.reshape(self._read(vectors, items), tf.concat([tf.shape(items), [self.dim]], 0))

    def _read(self, vectors, items):
        items = tf.cast(tf.reshape(items, [-1]), tf.int32)
        domains = tf.maximum(item_domains(items, self.offsets), 0)
        return self.item_towers.of_own(vectors, domains)

    @property
    def tables_in_place(self) -> bool:
        """As in `MultiDomainModel`: never."""
        return False

    def item_tables(self):
        """As in `MultiDomainModel`."""
        (table,) = super().item_tables()
        read = self._read(tf.cast(table, self.compute_dtype), tf.range(self.num_items + 1))
        return [tf.cast(read, tf.float32)]
