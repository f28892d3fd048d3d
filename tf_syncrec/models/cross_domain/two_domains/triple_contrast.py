"""Triple contrastive learning of the three sequences of a user (Tri-CDR, TOIS 2024)."""

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import View
from tf_syncrec.layers.experts import attention_bias
from tf_syncrec.models.cross_domain.stacked_mlp import StackedMLP

KINDS = ("mixed", "source", "target")
"""The three sequences, in the order in which they stand everywhere."""

CONTRASTED = 256
"""Users of a domain who are contrasted with each other: `alike` takes the square of them."""


def alike(first, second, valid, temperature):
    """NT-Xent of two views of users: each has to be found among all others of both.

    Args:
        first: `[groups, users, dim]`; users of a group are contrasted.
        second: the same users.
        valid: `[groups, users]` bool, who is there.
        temperature: divides the cosine.

    Returns:
        `[groups, users]` float32, the mean of both directions.
    """
    both = tf.math.l2_normalize(tf.concat([first, second], axis=1), axis=2)
    scores = tf.matmul(both, both, transpose_b=True) / temperature
    there = tf.concat([valid, valid], axis=1)[:, None] & ~tf.eye(tf.shape(both)[1], dtype=tf.bool)
    total = tf.reduce_logsumexp(scores + attention_bias(there), axis=2)
    one, other = tf.split(both, 2, axis=1)
    own = tf.reduce_sum(one * other, axis=2) / temperature
    return tf.add_n(tf.split(total, 2, axis=1)) / 2 - own


def told_apart(mixed, source, target, margin):
    """Triplet loss: the source sequence is closer to the mixed than to the target's, by a margin.

    Args:
        mixed: `[..., dim]`.
        source: the same.
        target: the same.
        margin: of Euclidean distances.

    Returns:
        `[...]`.
    """
    near, far = (
        tf.sqrt(tf.reduce_sum(tf.square(source - other), axis=-1) + 1e-12)
        for other in (mixed, target)
    )
    return tf.nn.relu(near - far + margin)


def in_groups(valid, most):
    """Deals those who are there into as few groups as hold them all, of about as many each.

    Args:
        valid: `[domains, users]` bool, who is there.
        most: how many a group has, at most.

    Returns:
        `[domains, groups, any]` int32 places among the users; -1: nobody.
    """
    users = tf.shape(valid)[1]
    count = tf.reduce_max(tf.reduce_sum(tf.cast(valid, tf.int32), axis=1))
    groups = tf.maximum(-(-count // most), 1)
    size = -(-count // groups)
    # Those who are there first, in their order.
    places = tf.sort(tf.where(valid, tf.range(users), users), axis=1)
    places = tf.pad(places, [[0, 0], [0, groups * size]], constant_values=users)
    places = tf.where(places < users, places, -1)[:, : groups * size]
    return tf.transpose(tf.reshape(places, [-1, size, groups]), [0, 2, 1])


class TripleContrast(keras.layers.Layer):
    """TCL, of what attention found at the last target that a user has in each domain.

    Where more than `contrasted` users of a batch have one, they are contrasted in groups.

    Args:
        num_domains: |D|.
        dim: r.
        temperature: of coarse-grained similarity.
        margin: of fine-grained distinction.
        contrasted: how many users of a domain are contrasted with each other, at most.

    Reference: Triple Sequence Learning for Cross-domain Recommendation (TOIS 2024).
    """

    def __init__(
        self, num_domains, dim, temperature=0.1, margin=1.0, contrasted=CONTRASTED, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_domains, self.dim = num_domains, dim
        self.temperature, self.margin, self.contrasted = temperature, margin, contrasted
        self.projections = StackedMLP(len(KINDS), dim, dim, dim, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        """Creates two layers for each kind of sequence."""
        self.projections.build()
        self.built = True

    def call(self, found, there, view: View):
        """Coarse-grained similarity and fine-grained distinction, means over users: two scalars.

        Args:
            found: z of `KINDS` at each slot, three times `[batch, slots, dim]`.
            there: `[batch, slots]` bool each, whether there is anything of the kind.
            view: `[batch, slots]`, says whose each slot is and in which domain its target.
        """
        # Of no rows, as a replica may have, there is no sequence, and nothing is gathered.
        count, sequences = self.num_domains, tf.maximum(tf.reduce_max(view.segments), -1) + 1
        keys = tf.where(view.segments < 0, -1, view.segments * count + view.domains)
        keys = tf.reshape(keys, [-1])
        slots = tf.range(tf.size(keys))
        last = tf.math.unsorted_segment_max(slots, keys, sequences * count)
        last = tf.transpose(tf.reshape(last, [sequences, count]))  # (domains, sequences)
        valid = last >= 0
        last = tf.maximum(last, 0)
        for each in there:
            valid &= tf.gather(tf.reshape(each, [-1]), last)
        places = in_groups(valid, self.contrasted)
        groups, size = count * tf.shape(places)[1], tf.shape(places)[2]
        last = tf.gather(last, tf.maximum(tf.reshape(places, [count, -1]), 0), batch_dims=1)
        valid = tf.reshape(places >= 0, [groups, size])
        z = tf.stack([tf.gather(tf.reshape(x, [-1, self.dim]), last) for x in found])
        z = tf.reshape(tf.cast(z, tf.float32), [len(KINDS), groups * size, self.dim])
        z = self.projections(z)
        # (groups, users, dim) each
        mixed, source, target = tf.unstack(tf.reshape(z, [len(KINDS), groups, size, self.dim]))
        pairs = ((mixed, source), (mixed, target), (source, target))
        coarse = [alike(*pair, valid, self.temperature) for pair in pairs]
        fine = told_apart(mixed, source, target, self.margin)
        users = over_replicas(tf.reduce_sum(tf.cast(valid, tf.float32)))
        return [
            tf.math.divide_no_nan(tf.reduce_sum(tf.where(valid, losses, 0.0)), users)
            for losses in (tf.add_n(coarse) / len(pairs), fine)
        ]
