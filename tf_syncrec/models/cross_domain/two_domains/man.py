"""MAN: attention to like items, to the merged sequence and to groups of users (WSDM 2024)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.layers import Dropout, Tower, TransformerExperts, group_by_domain
from tf_syncrec.layers.experts import StackedGlorotUniform
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.cross_domain.two_domains.encoders import DomainEncoders
from tf_syncrec.models.cross_domain.two_domains.group_prototypes import GroupPrototypes
from tf_syncrec.models.cross_domain.two_domains.pair_attention import PairScores, attend
from tf_syncrec.models.sequential import mean_over_targets


class MANLosses(NamedTuple):
    """What one batch costs.

    Attributes:
        total: what is minimised, scalar: the sum of the others.
        prediction: mean over targets, scalar.
        disentangling: how close prototypes are, weighed, scalar.
    """

    total: tf.Tensor
    prediction: tf.Tensor
    disentangling: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class MAN(MultiDomainModel):
    """Local encoders of domains, a global one, and three attentions between them.

    The local encoder of domain d reads the user's items of d, the global one the merged sequence;
    l and h are what they say. At each slot there are besides

    - item similarity attention, of the latest item of d to those before it of d, by a network of
      each pair (`PairScores`);
    - sequence-fusion attention, of l to all h so far;
    - group-prototype attention: prototypes, which all domains share, attend to all l so far, and
      the sequence is assigned to them by a softmax (`GroupPrototypes`).

    A network of the domain makes one vector of l and these three, one of all domains another of h;
    the next item is predicted from their sum. As in the authors' program encoders do not learn
    from fusion and groups, which read what they say behind a stop of gradients, and prototypes are
    pushed apart by half of the squared distance of each two, with a small weight.

    With more than two domains nothing else is to be said. Otherwise than in the paper: its item
    similarity asks with the candidate, and the candidate enters the last networks, so that nothing
    could be ranked by a dot product; in its place the latest item asks. Means over the sequence
    are the slot's own, since every slot is a target. Projections of attentions are shared by the
    domains, feed-forward networks are not. One table of items is everybody's, where the paper has
    one of each domain and a global one.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: attention blocks of an encoder.
        heads: attention heads of encoders and of fusion.
        ff_dim: inner width of their feed-forward networks; None: r.
        groups: how many prototypes; 10 in the authors' program.
        disentangling: weight of their distances; 1e-5 there.
        kwargs: as in `MultiDomainModel`.

    Reference: Mixed Attention Network for Cross-domain Sequential Recommendation (WSDM 2024, arXiv
    2311.08272).
    """

    def __init__(
        self,
        domain_sizes,
        *,
        blocks=2,
        heads=1,
        ff_dim=None,
        groups=10,
        disentangling=1e-5,
        **kwargs,
    ):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        dim, count = self.dim, self.num_domains
        shape = (blocks, dim, heads, ff_dim, self.dropout_rate, self.style)
        rest = (self.dropout_rate, self.style)
        self.disentangling = disentangling
        self.global_encoder = TransformerExperts(1, *shape, **part)
        self.local_encoders = DomainEncoders(count, *shape, **part)
        self.similarity_scores = PairScores(dim, **part)
        self.fusion = keras.layers.MultiHeadAttention(heads, dim // heads, use_bias=False, **part)
        self.fusion.build((None, None, dim), (None, None, dim))
        self.fusion_towers = Tower(count, dim, *rest, **part)
        self.groups = GroupPrototypes(count, dim, groups, *rest, **part)
        self.local_kernel = self.add_weight(
            shape=(count, 4 * dim, dim), initializer=StackedGlorotUniform(), name="local_kernel"
        )
        self.local_towers = Tower(count, dim, *rest, **part)
        self.global_tower = Tower(1, dim, *rest, **part)
        self.dropout = Dropout(self.dropout_rate, **part)
        self._arguments = {
            "blocks": blocks,
            "heads": heads,
            "ff_dim": ff_dim,
            "groups": groups,
            "disentangling": disentangling,
        }
        self.build_parts(
            self.global_encoder,
            self.local_encoders,
            self.similarity_scores,
            self.fusion_towers,
            self.groups,
            self.local_towers,
            self.global_tower,
        )

    @property
    def reported(self):
        """As in `MultiDomainModel`."""
        return {"loss": "total", "loss_prediction": "prediction"}

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`."""
        items, domains = self.checked(items, domains)
        cross_view, single_view = self.views(items, domains, times)
        blocks = group_by_domain(domains, self.num_domains)
        y = self._mixed(cross_view, single_view, blocks, queries=tf.shape(domains)[1])
        query = self.similarity.query(blocks.scatter(y, tf.shape(domains)))
        return tf.cast(query, tf.float32)

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> MANLosses:
        """As in `MultiDomainModel`, and the distances of prototypes."""
        cross_view, single_view = self.training_views(items, segments, timestamps, training)
        blocks = group_by_domain(single_view.domains, self.num_domains)
        y = self._mixed(cross_view, single_view, blocks, training=training)
        targets = blocks.gather(single_view.targets(items))
        (losses,) = self.target_losses([y], targets, blocks)
        prediction = mean_over_targets(losses, blocks).total
        g = tf.cast(tf.convert_to_tensor(self.groups.prototypes), tf.float32)
        # The sum over pairs of |g_i - g_j|² is n times that of |g_i - mean|².
        apart = tf.reduce_sum(tf.square(g - tf.reduce_mean(g, axis=0))) * g.shape[0] / 2
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        disentangling = -self.disentangling * apart / replicas
        return MANLosses(prediction + disentangling, prediction, disentangling)

    def _mixed(self, cross_view, single_view, blocks, queries=None, training=None):
        """Representations in the blocks of domains: `[blocks, block_size, dim]`.

        Args:
            cross_view: of merged sequences.
            single_view: of those of domains.
            blocks: of the slots that are wanted.
            queries: number of slots at the end of the single view that are wanted, which are asked
                all at the end of the cross view; None for all slots of both.
            training: whether dropout is on.
        """
        local_items = self.embedding(single_view, training=training)
        global_items = self.embedding(cross_view, training=training)
        local = self.local_encoders.of_domains(
            local_items, single_view.mask, single_view.domains, training=training
        )
        merged = self.global_encoder(global_items, cross_view.mask, training=training)[0]
        seen, seen_merged = single_view.mask, cross_view.mask
        latest, own, h = local_items, local, merged
        if queries is not None:
            latest, own, seen = (x[:, -queries:] for x in (latest, own, seen))
            h, seen_merged = (tf.repeat(x[:, -1:], queries, axis=1) for x in (h, seen_merged))

        similar = attend(self.similarity_scores(latest, local_items), seen, local_items)
        behind, behind_merged, behind_own = map(tf.stop_gradient, (local, merged, own))
        fused = behind_own + self.fusion(
            behind_own, behind_merged, attention_mask=seen_merged, training=training
        )
        constructed = self.groups.constructed(behind, seen)

        domains = blocks.domains
        fused = self.fusion_towers(blocks.gather(fused), domains, training=training)
        grouped = self.groups(
            blocks.gather(behind_own), blocks.gather(constructed), domains, training=training
        )
        of_domain = tf.concat([blocks.gather(similar), blocks.gather(own), fused, grouped], axis=-1)
        kernel = tf.gather(tf.convert_to_tensor(self.local_kernel), domains)
        kernel = tf.cast(kernel, of_domain.dtype)
        of_domain = tf.matmul(self.dropout(of_domain, training=training), kernel)
        of_domain = self.local_towers(of_domain, domains, training=training)
        return of_domain + self.global_tower(blocks.gather(h), None, training=training)
