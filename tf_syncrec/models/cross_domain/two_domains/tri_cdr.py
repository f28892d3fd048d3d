"""Tri-CDR: source, target and mixed sequence, attended to as one and told apart (TOIS 2024)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.layers import Dropout, TransformerExperts, View, group_by_domain, item_domains
from tf_syncrec.layers.experts import EPSILON
from tf_syncrec.layers.views import PAD
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.cross_domain.stacked_mlp import StackedMLP
from tf_syncrec.models.cross_domain.two_domains.encoders import DomainEncoders
from tf_syncrec.models.cross_domain.two_domains.pair_attention import PairScores, attend
from tf_syncrec.models.cross_domain.two_domains.triple_contrast import KINDS, TripleContrast
from tf_syncrec.models.sequential import mean_over_targets


class TriCDRLosses(NamedTuple):
    """What one batch costs.

    Attributes:
        total: what is minimised, scalar.
        prediction: mean over targets, scalar.
        encoders: of the mixed and of the target's state alone, likewise.
        coarse: of what is not alike in two sequences of a user, mean over users, scalar.
        fine: of what is not closer to the mixed sequence than to the target's, likewise.
    """

    total: tf.Tensor
    prediction: tf.Tensor
    encoders: tf.Tensor
    coarse: tf.Tensor
    fine: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class TriCDR(MultiDomainModel):
    """Three sequences of a user: of the target's domain, of the others, and of all, mixed.

    Each domain has an encoder of its own items, and there is one of the mixed sequence. Triple
    cross-domain attention (TCA): the latest state q of the target's domain attends to all states f
    of each sequence, by a network of `[f; q; f * q; q - f; m]` with m the mean of the mixed states
    (`PairScores`); the three z it finds become the representation, through two layers of the
    target's domain. Triple contrastive learning (TCL), of z at the last target that a user has in
    each domain, through two layers of the kind of sequence: coarse-grained similarity, NT-Xent of
    each two of the three, and fine-grained distinction, a triplet loss by which the source is
    closer to the mixed sequence than to the target's.

    The paper has one source domain. With more domains, the source states are those of all other
    domains, each of its own encoder. It trains a network for each target; here one does for all
    domains, with attention and projections of TCL that all share. There the encoders were trained
    before, to predict by themselves; here they are at the same time, by the loss of their latest
    states, mixed and target's. Who has no item of the domain yet asks with its start token.
    Positions are those of the mixed sequence. Loss, negatives and the table of items are
    everybody's. Of a domain 256 users at most are contrasted with each other, more in groups. For
    the memory that attention takes see `PairScores`, which scores mixed and other states.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: attention blocks of an encoder.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: r.
        encoders: weight of what the encoders predict by themselves.
        coarse: weight of coarse-grained similarity; this and what follows as in the authors'
            program.
        fine: weight of fine-grained distinction.
        contrast_temperature: of the former.
        margin: of the latter.
        kwargs: as in `MultiDomainModel`.

    Reference: Triple Sequence Learning for Cross-domain Recommendation (TOIS 2024, arXiv
    2304.05027).
    """

    def __init__(
        self,
        domain_sizes,
        *,
        blocks=2,
        heads=1,
        ff_dim=None,
        encoders=1.0,
        coarse=1.0,
        fine=1.0,
        contrast_temperature=0.1,
        margin=1.0,
        **kwargs,
    ):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        dim, count = self.dim, self.num_domains
        shape = (blocks, dim, heads, ff_dim, self.dropout_rate, self.style)
        self.encoders, self.coarse, self.fine = encoders, coarse, fine
        self.mixed_encoder = TransformerExperts(1, *shape, **part)
        self.domain_encoders = DomainEncoders(count, *shape, **part)
        self.scores = PairScores(dim, context=True, **part)

        self.reading = StackedMLP(count, len(KINDS) * dim, dim, dim, slope=0.01, **part)
        self.contrast = TripleContrast(count, dim, contrast_temperature, margin, dtype="float32")
        self.dropout = Dropout(self.dropout_rate, **part)
        self._arguments = {
            "blocks": blocks,
            "heads": heads,
            "ff_dim": ff_dim,
            "encoders": encoders,
            "coarse": coarse,
            "fine": fine,
            "contrast_temperature": contrast_temperature,
            "margin": margin,
        }
        self.build_parts(
            self.mixed_encoder, self.domain_encoders, self.scores, self.reading, self.contrast
        )

    @property
    def reported(self):
        """As in `MultiDomainModel`."""
        names = ("prediction", "encoders", "coarse", "fine")
        return {"loss": "total"} | {f"loss_{name}": name for name in names}

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`."""
        items, domains = self.checked(items, domains)
        view, _ = self.views(items, domains, times)
        seen = tf.repeat(view.mask[:, -1:], tf.shape(domains)[1], axis=1)
        found, _, _ = self.attended(view, domains, seen)
        blocks = group_by_domain(domains, self.num_domains)
        query = self.similarity.query(
            blocks.scatter(self._outputs(found, blocks), tf.shape(domains))
        )
        return tf.cast(query, tf.float32)

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> TriCDRLosses:
        """As in `MultiDomainModel`, and triple contrastive learning."""
        view, _ = self.training_views(items, segments, timestamps, training)
        blocks = group_by_domain(view.domains, self.num_domains)
        found, there, asking = self.attended(view, view.domains, view.mask, training=training)
        y = self._outputs(found, blocks, training=training)
        targets = blocks.gather(view.targets(items))
        alone = [blocks.gather(states) for states in asking]
        prediction, *alone = (
            mean_over_targets(losses, blocks).total
            for losses in self.target_losses([y, *alone], targets, blocks)
        )
        encoders = tf.add_n(alone)
        coarse, fine = self.contrast(found, there, view)
        total = prediction + self.encoders * encoders + self.coarse * coarse + self.fine * fine
        return TriCDRLosses(total, prediction, encoders, coarse, fine)

    def attended(self, view: View, domains, seen, training=None):
        """TCA.

        Args:
            view: the cross view, `[batch, slots]`.
            domains: `[batch, queries]` int32, what is asked for; negative at padding.
            seen: `[batch, queries, slots]` bool, what each may know of.
            training: whether dropout is on.

        Returns:
            z of `KINDS`, three times `[batch, queries, dim]`; whether there is anything of the
            kind, `[batch, queries]` bool each; and the mixed states, `[batch, slots, dim]`, and
            those that ask, `[batch, queries, dim]`.
        """
        embedded = self.embedding(view, training=training)
        is_item = view.tokens > PAD
        of_item = tf.where(is_item, item_domains(view.tokens, self.offsets), -1)
        same = of_item[:, :, None] == of_item[:, None]
        mixed = self.mixed_encoder(embedded, view.mask, training=training)[0]
        own = self.domain_encoders.of_domains(
            embedded, view.mask & same, of_item, training=training
        )
        of_target = of_item[:, None] == domains[:, :, None]
        seen_target = seen & is_item[:, None] & of_target
        seen_source = seen & is_item[:, None] & ~of_target

        places = tf.range(tf.shape(seen)[2])
        latest = tf.reduce_max(tf.where(seen_target, places, -1), axis=2)
        starts = tf.gather(
            tf.convert_to_tensor(self.embedding.start_tokens), 1 + tf.maximum(domains, 0)
        )
        starts = tf.cast(keras.ops.layer_normalization(starts, epsilon=EPSILON), own.dtype)
        asking = tf.gather(own, tf.maximum(latest, 0), batch_dims=1)
        asking = tf.where((latest >= 0)[..., None], asking, starts)
        weights = tf.cast(seen, mixed.dtype)
        mean = tf.matmul(weights, mixed) / tf.reduce_sum(weights, axis=2, keepdims=True)

        of_mixed = self.scores(asking, mixed, mean)
        of_own = self.scores(asking, own, mean)  # of both: who sees what is said afterwards
        masks = (seen, seen_source, seen_target)
        found = [
            attend(scores, mask, states)
            for scores, mask, states in zip(
                (of_mixed, of_own, of_own), masks, (mixed, own, own), strict=True
            )
        ]
        return found, [tf.reduce_any(mask, axis=2) for mask in masks], (mixed, asking)

    def _outputs(self, found, blocks, training=None):
        """Two layers of the domain: `[blocks, block_size, dim]` of the three z of slots."""
        x = self.dropout(blocks.gather(tf.concat(found, axis=-1)), training=training)
        return self.reading(x, which=blocks.domains)
