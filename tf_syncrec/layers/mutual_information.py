"""SC-MIM: InfoNCE between a user's single and cross representations (paper 4.4, Eq. 14-17)."""

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import gather_replicas


def pool_by_domain(y, segments, domains, num_domains):
    """Mean representation of each sequence in each domain, added up in float32.

    Args:
        y: `[batch, slots, dim]`.
        segments: `[batch, slots]` int32, the sequence of each slot; -1 at padding.
        domains: `[batch, slots]` int32.

    Returns:
        `(means, present)`: `[sequences, domains, dim]` float32, zero where the sequence has no slot
        of the domain, and `[sequences, domains]` bool, whether it has one.
    """
    # One at least: the gradient of a sum over no cells reads the first.
    num_sequences = tf.maximum(tf.reduce_max(segments), 0) + 1
    # Negative keys, of padding, are dropped.
    keys = tf.reshape(tf.where(segments < 0, -1, segments * num_domains + domains), [-1])
    cells = num_sequences * num_domains
    y = tf.cast(y, tf.float32)
    sums = tf.math.unsorted_segment_sum(tf.reshape(y, [-1, y.shape[-1]]), keys, cells)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(keys), keys, cells)
    means = tf.math.divide_no_nan(sums, tf.cast(counts, y.dtype)[:, None])
    shape = [num_sequences, num_domains]
    return tf.reshape(means, [*shape, y.shape[-1]]), tf.reshape(counts > 0, shape)


@keras.saving.register_keras_serializable("tf_syncrec")
class SingleCrossMutualInformation(keras.layers.Layer):
    """Contrastive loss that ties the two views of a user together, domain by domain.

    The cross representation of a user must pick the single representation of the same user among
    those of all users of the batch that have the domain, on whatever replica they are.
    `rho="sigmoid"` is the paper's `σ(uᵀ W^H v)`, which limits the contrast between two users to a
    factor e; `rho="bilinear"` leaves out the σ.

    `contrast="all"` counts the user's own pair in the normaliser, as Eq. 14-15 do, which makes the
    loss a cross-entropy; `contrast="others"` is Eq. 16 to the letter, with "the other users" alone.
    It has no lower bound at 0, and a user who is alone with a domain contrasts with nobody: such a
    user neither costs nor counts.

    Args:
        dim: r.
        rho: `"sigmoid"` or `"bilinear"`.
        contrast: `"all"` or `"others"`.

    ```python
    views = tf.random.normal([2, 4, 3, 8])  # pooled single and cross views of 4 users, 3 domains
    information = SingleCrossMutualInformation(dim=8)
    loss, count = information(views[0], views[1], tf.ones([4, 3], tf.bool))  # each (3,)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.4, Eq. 14-17.
    """

    def __init__(self, dim, rho="sigmoid", contrast="all", **kwargs):
        super().__init__(**kwargs)
        if rho not in ("sigmoid", "bilinear"):
            raise ValueError(f"rho must be 'sigmoid' or 'bilinear'. Received: {rho!r}")
        if contrast not in ("all", "others"):
            raise ValueError(f"contrast must be 'all' or 'others'. Received: {contrast!r}")
        self.dim = dim
        self.rho = rho
        self.contrast = contrast

    def build(self, input_shape=None):
        """Creates W^H `[dim, dim]`."""
        self.kernel = self.add_weight(
            shape=(self.dim, self.dim), initializer="glorot_uniform", name="w_h"
        )
        self.built = True

    def call(self, single, cross, present):
        """Loss of each domain.

        Args:
            single: pooled single representations, `[sequences, domains, dim]`; a sequence stands
                for its user.
            cross: pooled cross representations, `[sequences, domains, dim]`.
            present: `[sequences, domains]` bool, whether the sequence has the domain.

        Returns:
            `(loss, count)`, both `[domains]`: the sum of the losses of the users that have the
            domain, and how many of them have a loss.
        """
        everybody, known, first = gather_replicas(single, tf.cast(present, tf.float32))
        u = tf.transpose(everybody, [1, 0, 2])  # (domains, users of all replicas, dim)
        v = tf.transpose(cross, [1, 0, 2])  # (domains, users of this one, dim)
        present = tf.transpose(present)
        # rho[d, i, j]: cross view of user i beside the single view of user j.
        rho = tf.matmul(v, tf.matmul(u, self.kernel), transpose_b=True)
        if self.rho == "sigmoid":
            rho = tf.sigmoid(rho)
        rho = tf.cast(rho, tf.float32)
        own = tf.range(tf.shape(rho)[2]) == (first + tf.range(tf.shape(rho)[1]))[:, None]
        contrasted = tf.tile(tf.transpose(known)[:, None, :] > 0, [1, tf.shape(rho)[1], 1])
        if self.contrast == "others":
            contrasted &= ~own[None]
            present &= tf.reduce_any(contrasted, axis=2)
        loss = tf.reduce_logsumexp(tf.where(contrasted, rho, rho.dtype.min), axis=2)
        loss -= tf.reduce_sum(tf.where(own, rho, 0.0), axis=2)
        users = tf.cast(present, tf.float32)
        return tf.reduce_sum(tf.where(present, loss, 0.0), axis=1), tf.reduce_sum(users, axis=1)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "dim": self.dim,
            "rho": self.rho,
            "contrast": self.contrast,
        }
