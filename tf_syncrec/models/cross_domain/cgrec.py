"""CGRec: loss weights from what each domain contributes to the others (Park et al., CIKM 2023).

The paper plays a cooperative game among the domains and weighs the loss of a domain by its value.
Ours takes the game, on the network of `mmoe`, so that the two differ in the weights alone; the
original's contrastive losses over an item hierarchy need metadata that logs do not have.
"""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import (
    RelativeNegativeTransfer,
    group_by_domain,
    item_domains,
    split_views,
)
from tf_syncrec.models.cross_domain.mmoe import MMoE
from tf_syncrec.models.sequential import Losses
from tf_syncrec.models.trainer import inputs_of

EXACT_UP_TO = 6
"""Domains up to which all coalitions are played: 64 of them."""

PERMUTATIONS = 8
"""Orders of arrival that are sampled where there are more domains."""

PLAYERS = 8
"""Rows of a batch on whom a coalition is valued; a row holds one long sequence or several."""

INTERVAL = 20
"""Training steps from one game to the next, whose cost is that of a few steps."""


def coalitions(num_domains: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Which coalitions to value, and how the values add up to the Shapley value of each domain.

    Args:
        num_domains: |D|.
        seed: of the orders that are sampled beyond `EXACT_UP_TO` domains.

    Returns:
        `(members, weights)`: `[coalitions, domains]` bool, and `[domains, coalitions]` float32 such
        that `weights @ values` are the Shapley values.
    """
    if num_domains <= EXACT_UP_TO:
        members = np.array(list(itertools.product([False, True], repeat=num_domains)))
        sizes = members.sum(axis=1, keepdims=True)
        # How likely exactly this coalition is found by a domain that arrives in random order.
        chance = np.array([1 / (num_domains * math.comb(num_domains - 1, s)) for s in
                           range(num_domains)])  # fmt: skip
        joined = chance[np.maximum(sizes - 1, 0)]
        missed = chance[np.minimum(sizes, num_domains - 1)]
        return members, np.where(members, joined, -missed).T.astype(np.float32)
    rng = np.random.default_rng(seed)
    rows, weights = [], []
    for _ in range(PERMUTATIONS):
        present = np.zeros(num_domains, bool)
        rows.append(present.copy())
        change = np.zeros((num_domains, num_domains + 1))
        for step, d in enumerate(rng.permutation(num_domains)):
            present[d] = True
            rows.append(present.copy())
            change[d, [step, step + 1]] = -1, 1
        weights.append(change / PERMUTATIONS)
    return np.array(rows), np.concatenate(weights, axis=1).astype(np.float32)


@keras.saving.register_keras_serializable("tf_syncrec")
class CGRec(MMoE):
    """MMoE whose loss weighs each domain by its Shapley value.

    A coalition's value is the negative mean loss of all targets when only items of its domains can
    be seen. Values become weights by the rule of SyNCRec's λ, with the Shapley value in place of
    the gap: a domain that harms the predictions of the others, or helps them least, counts less.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        alpha: of the rule of λ.
        beta: of the rule of λ.
        delta: of the rule of λ.
        seed: of the orders of arrival that are sampled where there are many domains.
        kwargs: as in `MMoE`.
    """

    def __init__(self, domain_sizes, *, alpha=1.0, beta=1.0, delta=1.0, seed=0, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        self.contribution = RelativeNegativeTransfer(
            self.num_domains, alpha, beta, delta, dtype="float32"
        )
        self.contribution.build()
        self._members, self._shapley = coalitions(self.num_domains, seed)
        self._arguments |= {"alpha": alpha, "beta": beta, "delta": delta, "seed": seed}

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """As in `SequentialModel`, each domain weighed by |D| times its share of the value."""
        view, _ = self.training_views(items, segments, timestamps, training)
        targets = view.targets(items)
        sums, counts = self._domain_losses(view, targets, training)
        weights = self.num_domains * tf.convert_to_tensor(self.contribution.relative)
        total = tf.reduce_sum(weights * sums)
        return Losses(tf.math.divide_no_nan(total, over_replicas(tf.reduce_sum(counts))))

    def _domain_losses(self, view, targets, training):
        """Sum of the losses and number of the targets of each domain, both `[domains]`."""
        blocks = group_by_domain(view.domains, self.num_domains)
        encoded = blocks.gather(self.encode(view, training=training))
        y = self.specialise(encoded, blocks.domains, training=training)
        (losses,) = self.target_losses([y], blocks.gather(targets), blocks)
        return (
            blocks.sum_by_domain(losses, self.num_domains),
            blocks.sum_by_domain(tf.ones_like(losses), self.num_domains),
        )

    def train_step(self, batch):
        """A step, and every now and then a game on the batch it was made on."""
        batch = inputs_of(batch)
        logs = super().train_step(batch)
        domains = self.num_domains
        shapley, present = tf.cond(
            self.optimizer.iterations % INTERVAL == 1,
            lambda: self._play(**{name: rows[:PLAYERS] for name, rows in batch.items()}),
            lambda: (tf.zeros([domains]), tf.zeros([domains], tf.bool)),
        )
        # Replicas cannot meet inside of a condition. Where no domain is present nothing changes.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        shapley = over_replicas(shapley) / replicas
        present = over_replicas(tf.cast(present, tf.float32)) > 0
        self.contribution.update(self.contribution(shapley, present), shapley, present)
        return logs

    def _play(self, items, segments=None, timestamps=None):
        """Shapley values of the domains, and which of them a batch has: both `[domains]`.

        Nobody is told of times: they say something of items that a coalition hides.
        """
        values, present = self.coalition_values(items, segments)
        return tf.linalg.matvec(self._shapley, values), present

    def coalition_values(self, items, segments=None):
        """Negative mean loss of a batch's targets as each coalition lets them be predicted.

        Args:
            items: `[batch, length]` int32.
            segments: `[batch, length]` int32, as in `batch_losses`.

        Returns:
            `(values, present)`: `[coalitions]`, and `[domains]` bool, who has a target.
        """
        view, _ = split_views(items, None, self.offsets, self.window, segments)
        targets = view.targets(items)
        domains = item_domains(tf.maximum(view.tokens, 0), self.offsets)  # -1: (SOS) and padding

        seed = tf.identity(self._seed.state.value)

        def value(members):
            self._seed.state.assign(seed)  # all coalitions meet the same negatives
            visible = (domains < 0) | tf.gather(members, tf.maximum(domains, 0))
            tokens = tf.where(visible, view.tokens, 0)
            # A slot sees itself in any case, which is nothing where its item is not visible.
            mask = (view.mask & visible[:, None, :]) | tf.eye(tf.shape(tokens)[1], dtype=tf.bool)
            limited = view._replace(tokens=tokens, mask=mask)
            sums, counts = self._domain_losses(limited, targets, training=False)
            return -tf.math.divide_no_nan(tf.reduce_sum(sums), tf.reduce_sum(counts))

        values = tf.map_fn(value, tf.constant(self._members), fn_output_signature=tf.float32)
        present = tf.reduce_any(view.domains[..., None] == tf.range(self.num_domains), axis=[0, 1])
        return values, present

    def epoch_domains(self):
        """Weights of the domains as they stand."""
        return {"lambda": tf.convert_to_tensor(self.contribution.relative).numpy()}
