"""CARCA: each candidate looks at the profile itself (Rashed et al., RecSys 2022)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import TransformerExperts
from tf_syncrec.layers.experts import EPSILON, StackedGlorotUniform
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.sequential import Losses, mean_where

LEAST = -80.0
"""Of what a slot makes of another, below the highest of all: its exponential is a float32."""


@keras.saving.register_keras_serializable("tf_syncrec")
class CARCA(MultiDomainModel):
    """Self-attention over the profile, cross-attention from a candidate to the profile.

    The score of a candidate c of the profile f_1 .. f_t is

    `w · ((sum over s of softmax_s(q_c · k_s / sqrt(r)) v_s) * e_c) + b`

    with e the embedding of an item by its own vector and its attributes, q, k and v leaky ReLUs of
    linear maps of e_c and f_s, and `*` the product by element, the paper's residual connection. So
    what a user looks for depends on the candidate, and no query vector gives the score by a dot
    product. As nothing comes after the product but w, it moves inside the sum: the score is a mean
    of `v_s · (w * e_c)`, and vectors of width r are never made for each user and candidate.

    Otherwise than in the paper: no contexts, and no dropout within the cross-attention. Those of a
    candidate are made of the time of the target, which no protocol of ours tells; positions say the
    order in their place. A target sees the profile before it alone, in training as well. Blocks and
    embedding are those of `SASRec`.

    The published loss is `bce` with one negative of its own for each target. Settings `similarity`
    and `temperature` have no part here.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: self-attention blocks over the profile.
        heads: attention heads, also of the cross-attention.
        ff_dim: inner width of the feed-forward networks; None: r.
        kwargs: as in `MultiDomainModel`.

    References:
        - [Context and Attribute-Aware Sequential Recommendation via Cross-Attention](
          https://doi.org/10.1145/3523227.3546777)
    """

    dot_product = False

    def __init__(self, domain_sizes, *, blocks=2, heads=1, ff_dim=None, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        self.encoder = TransformerExperts(
            1,
            blocks,
            self.dim,
            heads,
            ff_dim,
            self.dropout_rate,
            self.style,
            dtype=self.dtype_policy,
        )
        self.decoder = CrossAttention(self.dim, heads, dtype="float32")
        self._arguments = {"blocks": blocks, "heads": heads, "ff_dim": ff_dim}
        self.build_parts(self.encoder, self.decoder)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def profile(self, view, training=None):
        """Keys and values of what a profile holds, two times `[batch, slots, dim]` float32."""
        embedded = self.embedding(view, training=training)
        return self.decoder.profile(self.encoder(embedded, view.mask, training=training)[0])

    def query_vectors(self, items, domains, times=None):
        """A profile as one row: of each slot keys, values and whether it is there.

        Args:
            items: as in `MultiDomainModel`.
            domains: likewise; the same for all of them.
            times: likewise.

        Returns:
            `[batch, queries, slots * (2 dim + 1)]` float32, for `candidate_scores`.
        """
        items, domains = self.checked(items, domains)
        view, _ = self.views(items, domains, times)
        seen = tf.cast(view.mask[:, -1], tf.float32)[..., None]
        rows = tf.concat([*self.profile(view), seen], axis=2)
        flat = tf.reshape(rows, [tf.shape(rows)[0], 1, tf.shape(rows)[1] * rows.shape[2]])
        return tf.tile(flat, [1, tf.shape(domains)[1], 1])

    def candidate_vectors(self, items):
        """What a candidate asks the profile, and what it makes of the answer, `[..., 2 dim]`."""
        return self._candidates(self.embedding.embed_items(items))

    def _candidates(self, vectors):
        if self.style == "pre_norm":  # as items of the profile
            vectors = keras.ops.layer_normalization(vectors, epsilon=EPSILON)
        return self.decoder.candidates(tf.cast(vectors, tf.float32))

    def candidate_scores(self, queries, candidates):
        """As in `MultiDomainModel`; of candidates for all, one row at a time."""
        width = 2 * self.dim + 1
        slots = tf.reshape(queries, [tf.shape(queries)[0], tf.shape(queries)[1] // width, width])
        keys, values, seen = tf.split(slots, [self.dim, self.dim, 1], axis=2)
        visible = seen[:, None, :, 0] > 0
        if candidates.shape.rank == 3:
            return self.decoder.of_slots(keys, values, visible, candidates[:, None])[:, 0]

        def of_row(parts):  # as much memory as a score for each slot of one profile takes
            of_one = [part[None] for part in parts]
            return self.decoder.of_all(of_one[0], of_one[1], of_one[2], candidates)[0, 0]

        # One row more, as of none at all no shape is known.
        parts = [tf.pad(x, [[0, 1], *[[0, 0]] * (len(x.shape) - 1)]) for x in (keys, values)]
        parts.append(tf.pad(visible, [[0, 1], [0, 0], [0, 0]], constant_values=True))
        spec = tf.TensorSpec([candidates.shape[0]], tf.float32)
        return tf.map_fn(of_row, tuple(parts), fn_output_signature=spec)[:-1]

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """As in `MultiDomainModel`; the mean over the targets."""
        view, _ = self.training_views(items, segments, timestamps, training)
        keys, values = self.profile(view, training)
        targets = view.targets(items)
        domains = tf.maximum(view.domains, 0)
        positive = self.candidate_vectors(targets)[:, :, None]
        positive = self.decoder.of_slots(keys, values, view.mask, positive)[..., 0]
        sizes = tf.constant(self.trained_sizes, tf.int32)
        shared = self.negatives.shared
        drawn_for = tf.range(self.num_domains) if shared else domains
        ids = self.negatives(drawn_for, self.offsets, sizes, self._seed)
        vectors = self._candidates(self.embedding.embed_items(ids, of_batch=False))
        if shared:
            all_of_them = tf.reshape(vectors, [-1, vectors.shape[-1]])
            scores = self.decoder.of_all(keys, values, view.mask, all_of_them)
            by_domain = tf.concat([tf.shape(domains), tf.shape(ids)], axis=0)
            negative = tf.gather(tf.reshape(scores, by_domain), domains, batch_dims=2)
            ids = tf.gather(ids, domains)
        else:
            negative = self.decoder.of_slots(keys, values, view.mask, vectors)
        losses = self.loss_of(positive, negative, ids, targets, domains)
        return mean_where(losses, view.domains >= 0)


@keras.saving.register_keras_serializable("tf_syncrec")
class CrossAttention(keras.layers.Layer):
    """Scores of candidates that attend to a profile, see `CARCA`.

    Args:
        dim: r.
        heads: attention heads; must divide `dim`.
    """

    def __init__(self, dim, heads=1, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.heads = dim, heads

    def build(self, input_shape=None):
        """Creates the maps of queries, keys and values, w and b."""

        def weight(name, shape, initializer):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.maps = [
            (
                weight(f"{name}_map", (self.dim, self.dim), StackedGlorotUniform()),
                weight(f"{name}_bias", (self.dim,), "zeros"),
            )
            for name in ("query", "key", "value")
        ]
        self.weight = weight("weight", (self.dim, 1), StackedGlorotUniform())
        self.bias = weight("bias", (), "zeros")
        self.built = True

    def _mapped(self, x, which):
        matrix, bias = self.maps[which]
        flat = tf.matmul(tf.reshape(x, [-1, self.dim]), matrix.value) + bias.value
        return tf.reshape(tf.nn.leaky_relu(flat), tf.shape(x))

    def profile(self, encoded):
        """Keys and values of `[batch, slots, dim]`."""
        encoded = tf.cast(encoded, tf.float32)
        return self._mapped(encoded, 1), self._mapped(encoded, 2)

    def candidates(self, embedded):
        """Queries q_c / sqrt(r), and w * e_c, side by side: `[..., dim]` -> `[..., 2 dim]`."""
        query = self._mapped(embedded, 0) * (self.dim // self.heads) ** -0.5
        return tf.concat([query, embedded * self.weight.value[:, 0]], axis=-1)

    def _heads(self, x):
        """`[..., dim]` -> `[..., heads, dim / heads]`."""
        size = self.dim // self.heads
        return tf.reshape(x, tf.concat([tf.shape(x)[:-1], [self.heads, size]], axis=0))

    def of_slots(self, keys, values, visible, candidates):
        """Scores of candidates of each slot's own.

        Args:
            keys: `[batch, seen, dim]`.
            values: the same shape.
            visible: `[batch, slots, seen]` bool; a slot sees one at least.
            candidates: `[batch, slots, n, 2 dim]`.

        Returns:
            `[batch, slots, n]` float32.
        """
        query, gain = map(self._heads, tf.split(candidates, 2, axis=-1))
        logits = tf.einsum("bsnhd,bthd->bhsnt", query, self._heads(keys))
        gains = tf.einsum("bsnhd,bthd->bhsnt", gain, self._heads(values))
        logits = tf.where(visible[:, None, :, None], logits, tf.float32.min / 2)
        mixed = tf.reduce_sum(tf.nn.softmax(logits) * gains, axis=-1)
        return tf.reduce_sum(mixed, axis=1) + self.bias.value

    def of_all(self, keys, values, visible, candidates):
        """Scores of the same candidates at every slot.

        What a candidate makes of a slot of the profile is the same whoever looks, so it is made
        once; a slot adds up what it sees, which costs nothing of the width.

        Args:
            keys: `[batch, seen, dim]`.
            values: the same shape.
            visible: as in `of_slots`.
            candidates: `[n, 2 dim]`.

        Returns:
            `[batch, slots, n]` float32.
        """
        query, gain = map(self._heads, tf.split(candidates, 2, axis=-1))
        logits = tf.einsum("bthd,nhd->bhtn", self._heads(keys), query)
        gains = tf.einsum("bthd,nhd->bhtn", self._heads(values), gain)
        by_anybody = tf.reduce_any(visible, axis=1)[:, None, :, None]
        logits = tf.where(by_anybody, logits, tf.float32.min / 2)
        highest = tf.stop_gradient(tf.reduce_max(logits, axis=2, keepdims=True))
        # Never 0, or a slot that sees nothing near the highest, which is of others, sees nothing.
        weights = tf.exp(tf.maximum(logits - highest, LEAST))
        sees = tf.cast(visible, tf.float32)[:, None]
        totals = tf.matmul(sees, weights)
        mixed = tf.math.divide_no_nan(tf.matmul(sees, weights * gains), totals)
        return tf.reduce_sum(mixed, axis=1) + self.bias.value

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"dim": self.dim, "heads": self.heads}
