"""CMF: relations of all domains are factorised with the same users (Singh & Gordon, KDD 2008)."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.models.sequential import Losses


@keras.saving.register_keras_serializable("tf_syncrec")
class CMF(BPRMF):
    """Collective matrix factorisation: a relation a domain, between the same users and its items.

    `X_d ≈ f(U V_d')` with one U, and the loss is `sum over d of α_d L(X_d)`, L a mean over the
    entries of one relation. So the network is that of `BPRMF`, in which every interaction weighs as
    much, and what differs is that here every domain does, by α, however many interactions it has.
    Any number of relations is part of the paper.

    A batch has some of the interactions of each relation: L is the mean over those. L itself, the
    link f and the negatives are everybody's in place of a Bregman divergence over all entries, and
    dropout takes the place of the regularisation.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        weights: α of domains by their names, before they are divided by their sum; of those that
            are not named 1.
        kwargs: as in `MultiDomainModel`.

    Reference: Relational Learning via Collective Matrix Factorization (KDD 2008), section 3.
    """

    def __init__(
        self, domain_sizes, user_ids, *, weights: Mapping[str, float] | None = None, **kwargs
    ):
        super().__init__(domain_sizes, user_ids, **kwargs)
        self.relation_weights = dict(weights or {})
        others = set(self.relation_weights) - set(self.domains)
        alphas = [self.relation_weights.get(domain, 1.0) for domain in self.domains]
        if others or min(alphas) < 0 or sum(alphas) == 0:
            raise ValueError(
                f"weights must be of the domains {', '.join(self.domains)}, none below 0 and one "
                f"above. Received: {weights}"
            )
        self._alphas = [alpha / sum(alphas) for alpha in alphas]

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"weights": self.relation_weights}

    def mean_loss(self, losses, blocks) -> Losses:
        """The weighted sum of what each domain costs."""
        sums = blocks.sum_by_domain(losses, self.num_domains)
        ones = tf.ones_like(losses)
        counts = over_replicas(blocks.sum_by_domain(ones, self.num_domains))
        means = tf.math.divide_no_nan(sums, counts)
        return Losses(tf.reduce_sum(tf.constant(self._alphas) * means))
