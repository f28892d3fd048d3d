"""ABXI: interests that all domains share, adapted to each by low-rank matrices (WWW 2025)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import DomainBlocks, Dropout, group_by_domain
from tf_syncrec.layers.experts import EPSILON, StackedGlorotUniform, layer_norm, swiglu
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.sequential import Losses, mean_over_targets


class _Stacked(keras.layers.Layer):
    """Weights with a leading axis: row i of the inputs meets those of `which[i]`."""

    def _stacked(self, name, count, *shape, initializer=None, **kwargs):
        initializer = initializer or StackedGlorotUniform()
        return self.add_weight(shape=(count, *shape), initializer=initializer, name=name, **kwargs)

    def _of_rows(self, weight, which):
        return tf.gather(tf.convert_to_tensor(weight), which)


class Projector(_Stacked):
    """`count` feed-forward networks with SwiGLU, each `[rows, slots, dim]` to the same.

    Args:
        count: of them.
        dim: r.
        ff_dim: inner width.
    """

    def __init__(self, count, dim, ff_dim, **kwargs):
        super().__init__(**kwargs)
        self.count, self.dim, self.ff_dim = count, dim, ff_dim

    def build(self, input_shape=None):
        """Creates the weights."""
        into, out = (self.dim, self.ff_dim), (self.ff_dim, self.dim)
        shapes = {"gate": into, "up": into, "down": out}
        self.parts = [self._stacked(name, self.count, *each) for name, each in shapes.items()]
        self.built = True

    def call(self, x, which=None):
        """Projects; `which`: `[rows]` int32, None where there is one network."""
        if which is None:
            return swiglu(x, *(tf.convert_to_tensor(part) for part in self.parts))
        return swiglu(x, *(self._of_rows(part, which) for part in self.parts))


class Adapted(_Stacked):
    """`LN_i(x + f(x) + x A_i B_i)`: a network f that is shared, and what i has of its own.

    A B is a LoRA, of low rank and zero in the beginning, when all share f as it is.

    Args:
        count: of those who share.
        dim: r.
        rank: of A B; 0: there is none, and f is not shared.
        dropout: rate on f and on the LoRA.
    """

    def __init__(self, count, dim, rank, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.count, self.dim, self.rank = count, dim, rank
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        """Creates the weights."""
        if self.rank:
            self.down = self._stacked("down", self.count, self.dim, self.rank)
            self.up = self._stacked("up", self.count, self.rank, self.dim, initializer="zeros")
        norm = (self.count, 1, self.dim)
        self.scale = self._stacked("scale", *norm, initializer="ones", autocast=False)
        self.offset = self._stacked("offset", *norm, initializer="zeros", autocast=False)
        self.built = True

    def call(self, x, shared, which, training=None):
        """Adapts.

        Args:
            x: `[rows, slots, dim]`.
            shared: f(x), of the same shape.
            which: `[rows]` int32, whose LoRA and normalisation.
        """
        total = x + self.dropout(shared, training=training)
        if self.rank:
            adapter = tf.matmul(x, self._of_rows(self.down, which))
            adapter = tf.matmul(adapter, self._of_rows(self.up, which))
            total += self.dropout(adapter, training=training)
        scale, offset = (self._of_rows(w, which) for w in (self.scale, self.offset))
        return layer_norm(total, scale, offset)


@keras.saving.register_keras_serializable("tf_syncrec")
class ABXI(MultiDomainModel):
    """Two aligned streams through one encoder; what is invariant is projected and adapted.

    The cross stream x reads the merged sequence, the stream of domain d only the items of d. Where
    the item to be predicted is of d, the second one is at the latest item of d, whatever domain
    the current item is of: the paper's aligned streams are our single view. One attention block
    and one SwiGLU network serve all; each stream adds a LoRA of its own to the latter ("dLoRA")::

        h = LN(e + MSA(e)),  h_x = LN_x(h + F(h) + dLoRA_x(h)),  h_d likewise
        y = LN(h_x + G(h_x) + iLoRA_d(h_x)) + LN(h_d + G_d(h_d))

    G is the invariant projector, G_d that of a domain. The paper has two domains, here there are as
    many as there are. Left out: the mean over each user's targets of a domain before the mean over
    users, as the loss is everybody's here, the mean over targets; the start tokens and normalised
    embeddings are everybody's, too.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        heads: attention heads.
        ff_dim: inner width of the SwiGLU networks; None: 8/3 r, as published.
        domain_rank: of dLoRA.
        invariant_rank: of iLoRA.
        kwargs: as in `MultiDomainModel`.

    Reference: ABXI: Invariant Interest Adaptation for Task-Guided Cross-Domain Sequential
    Recommendation (WWW 2025, arXiv 2501.15118), section 4.
    """

    def __init__(
        self,
        domain_sizes,
        *,
        heads=1,
        ff_dim=None,
        domain_rank=16,
        invariant_rank=16,
        **kwargs,
    ):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        dim, count, dropout = self.dim, self.num_domains, self.dropout_rate
        inner = ff_dim or -(-8 * dim // 3)
        # Without biases as everybody's; that of keys could not even learn, softmax removes it.
        self.attention = keras.layers.MultiHeadAttention(
            heads, dim // heads, use_bias=False, **part
        )
        self.attention.build((None, None, dim), (None, None, dim))
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON, **part)
        self.norm.build((None, None, dim))
        self.dropout = Dropout(dropout, **part)
        self.feed_forward = Projector(1, dim, inner, **part)
        # The cross stream is the first: what belongs to no domain stands first everywhere.
        self.streams = Adapted(1 + count, dim, domain_rank, dropout, **part)
        self.projector = Projector(1, dim, inner, **part)
        self.invariant = Adapted(count, dim, invariant_rank, dropout, **part)
        self.domain_projectors = Projector(count, dim, inner, **part)
        self.specific = Adapted(count, dim, 0, dropout, **part)
        self._arguments = {
            "heads": heads,
            "ff_dim": ff_dim,
            "domain_rank": domain_rank,
            "invariant_rank": invariant_rank,
        }
        self.build_parts(
            self.feed_forward,
            self.streams,
            self.projector,
            self.invariant,
            self.domain_projectors,
            self.specific,
        )

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`."""
        items, domains = self.checked(items, domains)
        cross_view, single_view = self.views(items, domains, times)
        blocks = group_by_domain(domains, self.num_domains)
        queries = tf.shape(domains)[1]
        cross = tf.repeat(self._attended(cross_view, last=1), queries, axis=1)
        single = self._attended(single_view, last=queries)
        y = self._adapted(blocks.gather(cross), blocks.gather(single), blocks)
        query = self.similarity.query(blocks.scatter(y, tf.shape(domains)))
        return tf.cast(query, tf.float32)

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """As in `MultiDomainModel`; the mean over the targets."""
        cross_view, single_view = self.training_views(items, segments, timestamps, training)
        blocks = group_by_domain(single_view.domains, self.num_domains)
        cross, single = (
            blocks.gather(self._attended(view, training=training))
            for view in (cross_view, single_view)
        )
        y = self._adapted(cross, single, blocks, training=training)
        targets = blocks.gather(single_view.targets(items))
        (losses,) = self.target_losses([y], targets, blocks)
        return mean_over_targets(losses, blocks)

    def _attended(self, view, last=None, training=None):
        """The shared attention block: `[batch, slots or last, dim]`."""
        seen = self.embedding(view, training=training)
        x, mask = seen, view.mask
        if last is not None:
            x, mask = x[:, -last:], mask[:, -last:]
        attended = self.attention(x, seen, attention_mask=mask, training=training)
        return self.norm(x + self.dropout(attended, training=training))

    def _adapted(self, cross, single, blocks: DomainBlocks, training=None):
        """Both streams to the representation of the domain: `[blocks, block_size, dim]`."""
        domains = blocks.domains
        of_cross, of_domains = tf.zeros_like(domains), 1 + domains
        cross = self.streams(cross, self.feed_forward(cross), of_cross, training=training)
        single = self.streams(single, self.feed_forward(single), of_domains, training=training)
        shared = self.invariant(cross, self.projector(cross), domains, training=training)
        own = self.domain_projectors(single, domains)
        return shared + self.specific(single, own, domains, training=training)
