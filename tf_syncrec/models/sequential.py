"""What the neural baselines over the merged sequence have in common."""

from typing import NamedTuple

import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import DomainBlocks, View, group_by_domain
from tf_syncrec.models.base import MultiDomainModel


class Losses(NamedTuple):
    """What one batch costs: the mean loss of its targets, scalar."""

    total: tf.Tensor


def mean_over_targets(losses, blocks: DomainBlocks) -> Losses:
    """As `mean_where`, of `[blocks, block_size]`."""
    return mean_where(losses, blocks.mask)


def mean_where(losses, mask) -> Losses:
    """This replica's share of the mean over the global batch, of losses where a mask is True."""
    total = tf.reduce_sum(tf.where(mask, losses, 0.0))
    count = over_replicas(tf.reduce_sum(tf.cast(mask, tf.float32)))
    return Losses(tf.math.divide_no_nan(total, count))


class SequentialModel(MultiDomainModel):
    """Predicts every item of the merged sequence from the items before it.

    A subclass turns a view into representations (`encode`) and may read the domain that is asked
    for (`specialise`).
    """

    def encode(self, view: View, last=None, training=None):
        """Representation of what is seen at each slot.

        Args:
            view: the cross view, `[batch, slots]`.
            last: number of slots at the end that are wanted; None for all.
            training: whether dropout is on.

        Returns:
            `[batch, slots or last, dim]`.
        """
        raise NotImplementedError

    def specialise(self, encoded, domains, training=None):
        """Representations for the domains that are asked for; the same for all by default.

        Args:
            encoded: `[rows, slots, dim]` of what `encode` returned.
            domains: `[rows]` int32.
            training: whether dropout is on.

        Returns:
            `[rows, slots, dim]`.
        """
        return encoded

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`."""
        items, domains = self.checked(items, domains)
        view, _ = self.views(items, domains, times)
        encoded = self.encode(view, last=1)
        batch, queries = tf.shape(domains)[0], tf.shape(domains)[1]
        rows = tf.reshape(
            tf.broadcast_to(encoded, [batch, queries, tf.shape(encoded)[2]]),
            [batch * queries, 1, encoded.shape[2]],
        )
        y = self.specialise(rows, tf.reshape(domains, [-1]))
        query = tf.reshape(self.similarity.query(y), [batch, queries, self.dim])
        return tf.cast(query, tf.float32)

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """As in `MultiDomainModel`; the mean over the targets."""
        view, _ = self.training_views(items, segments, timestamps, training)
        blocks = group_by_domain(view.domains, self.num_domains)
        encoded = blocks.gather(self.encode(view, training=training))
        y = self.specialise(encoded, blocks.domains, training=training)
        targets = blocks.gather(view.targets(items))
        (losses,) = self.target_losses([y], targets, blocks)
        return mean_over_targets(losses, blocks)
