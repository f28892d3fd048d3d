"""Feature transfer of BiTGCF between the domains of a user."""

import tensorflow as tf

from tf_syncrec.models.cross_domain.pi_net import mean_of_others


def transferred(users, counts, own_share):
    """Bidirectional transfer between the domains that a user has had items in.

    What is common is the mean of the domains by numbers of items; what is specific is the domain's
    own with a share of the mean of the others. A user has the mean of both.

    Args:
        users: `[users, domains, dim]`.
        counts: `[users, domains]`, items that they have had.
        own_share: λ.

    Returns:
        `[users, domains, dim]`. Nothing changes where a user has items in this domain alone; where
        they have none, it is what is common.
    """
    had = tf.cast(counts > 0, users.dtype)
    others = tf.reduce_sum(had, axis=1, keepdims=True) - had
    common = common_vectors(users, counts)
    specific = own_share * users + (1.0 - own_share) * mean_of_others(users, had)
    moved = tf.where((others > 0)[..., None], (specific + common) / 2, users)
    return tf.where((counts > 0)[..., None], moved, common)


def common_vectors(users, counts):
    """What users are in all domains together, `[users, domains, dim]`; as it is if in none."""
    total = tf.reduce_sum(counts, axis=1)[:, None, None]
    common = tf.math.divide_no_nan(tf.einsum("ud,udr->ur", counts, users)[:, None], total)
    return tf.where(total > 0, common, users)
