"""Infomax between a domain's own prototype and that of the others (C²DSR, CIKM 2022)."""

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import View, item_domains
from tf_syncrec.layers.experts import StackedGlorotUniform
from tf_syncrec.layers.views import PAD


def sum_by_domain(h, view: View, offsets, num_domains):
    """Sums over the items that each sequence has of each domain, and how many these are.

    Args:
        h: `[batch, slots, dim]`.
        view: of which slots without an item, of start tokens, are left out.
        offsets: `[domains]` int32, first item of each domain.
        num_domains: |D|.

    Returns:
        `[sequences, domains, dim]` and `[sequences, domains]`, float32.
    """
    domains = item_domains(tf.maximum(view.tokens, PAD), offsets)
    keys = tf.where(view.tokens > PAD, view.segments * num_domains + domains, -1)
    keys = tf.reshape(keys, [-1])
    sequences = tf.maximum(tf.reduce_max(view.segments), 0) + 1
    cells, dim = sequences * num_domains, h.shape[-1]
    h = tf.reshape(tf.cast(h, tf.float32), [-1, dim])
    total = tf.math.unsorted_segment_sum(h, keys, cells)
    number = tf.math.unsorted_segment_sum(tf.ones_like(h[:, 0]), keys, cells)
    shape = [sequences, num_domains]
    return tf.reshape(total, [*shape, dim]), tf.reshape(number, shape)


class CrossDomainInfomax(keras.layers.Layer):
    """A bilinear discriminator a domain, which tells prototypes of a user's others from false ones.

    `-log σ(g_d W_d z) - log (1 - σ(g_d W_d z'))` with g_d the mean over the domain's own stream, z
    that over the items of other domains in the merged sequence, and z' the same where the items of
    d were replaced.

    Args:
        num_domains: |D|.
        dim: r.

    Reference: Contrastive Cross-Domain Sequential Recommendation (CIKM 2022), section 4.4.
    """

    def __init__(self, num_domains, dim, **kwargs):
        super().__init__(**kwargs)
        self.num_domains, self.dim = num_domains, dim

    def build(self, input_shape=None):
        """Creates the discriminators, `[domains, dim, dim]`, and a bias of each."""
        self.discriminators = self.add_weight(
            shape=(self.num_domains, self.dim, self.dim),
            initializer=StackedGlorotUniform(),
            name="discriminators",
        )
        self.discriminators_bias = self.add_weight(
            shape=(self.num_domains,), initializer="zeros", name="discriminators_bias"
        )
        self.built = True

    def call(self, own, merged, false):
        """Mean over the users that have the domain and others, summed over the domains: a scalar.

        Args:
            own: `sum_by_domain` of the domains' streams.
            merged: that of the merged sequence.
            false: `[domains, sequences, domains, dim]`, the sums of the latter with the items of
                each domain replaced.
        """
        own, of_own = own
        real, counts = merged
        of_others = tf.reduce_sum(counts, axis=1, keepdims=True) - counts
        apart = 1.0 - tf.eye(self.num_domains)
        real = tf.einsum("nei,de->dni", real, apart)
        false = tf.einsum("dnei,de->dni", false, apart)
        number = tf.transpose(of_others)[..., None]
        z = tf.stack([tf.math.divide_no_nan(each, number) for each in (real, false)])
        own = tf.math.divide_no_nan(own, of_own[..., None])
        asked = tf.einsum("ndi,dij->dnj", own, tf.convert_to_tensor(self.discriminators))
        bias = tf.convert_to_tensor(self.discriminators_bias)[:, None]
        scores = tf.reduce_sum(asked * z, axis=-1) + bias
        losses = tf.nn.softplus(-scores[0]) + tf.nn.softplus(scores[1])
        known = tf.cast(tf.transpose((of_own > 0) & (of_others > 0)), tf.float32)
        users = over_replicas(tf.reduce_sum(known, axis=1))
        sums = tf.reduce_sum(known * losses, axis=1)
        return tf.reduce_sum(tf.math.divide_no_nan(sums, users))
