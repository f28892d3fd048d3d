"""SASRec: one causal Transformer (Kang and McAuley, ICDM 2018), and an ensemble of two."""

import keras
import tensorflow as tf

from tf_syncrec.layers import TransformerExperts, ViewWeights
from tf_syncrec.models.sequential import Losses, SequentialModel
from tf_syncrec.schema import TERMS


@keras.saving.register_keras_serializable("tf_syncrec")
class SASRec(SequentialModel):
    """A single expert of SyNCRec's own kind, and nothing else.

    Trained on merged sequences it is `sasrec_cross`, one model a domain `sasrec_single`.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: attention blocks.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: r.
        kwargs: as in `MultiDomainModel`.
    """

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
        self._arguments = {"blocks": blocks, "heads": heads, "ff_dim": ff_dim}
        self.build_parts(self.encoder)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def encode(self, view, last=None, training=None):
        """As in `SequentialModel`."""
        embedded = self.embedding(view, training=training)
        return self.encoder(embedded, view.mask, last=last, training=training)[0]


@keras.saving.register_keras_serializable("tf_syncrec")
class SASRecPair(SASRec):
    """Two SASRecs that differ in chance alone and whose scores are added: what two views cost.

    It is the first of them and has the second. Each has items, weights and negatives of its own;
    as their losses are added, neither's gradient knows of the other. Both meet the same batches,
    and one epoch is chosen for both. They are weighed by domain on validation as SyNCRec's views.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        kwargs: as in `SASRec`.
    """

    view_weights: ViewWeights

    def __init__(self, domain_sizes, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        # Keras's generator of seeds has moved on: its weights and negatives are others.
        # Terms are added to the sum, once.
        self.second = SASRec(domain_sizes, **kwargs | dict.fromkeys(TERMS, 0) | {"name": "second"})
        self.view_weights = ViewWeights(self.num_domains, dtype="float32")
        self.view_weights.build()

    @property
    def embeddings(self):
        """As in `MultiDomainModel`, of both."""
        return [*super().embeddings, *self.second.embeddings]

    @property
    def fitted_parts(self):
        """As in `MultiDomainModel`, of both."""
        return (*super().fitted_parts, *self.second.fitted_parts)

    def candidate_vectors(self, items):
        """As in `MultiDomainModel`, of one after the other, `[..., 2 dim]`."""
        both = super().candidate_vectors(items), self.second.candidate_vectors(items)
        return tf.concat(both, axis=-1)

    def view_queries(self, items, domains, times=None):
        """As in `MultiDomainModel`: either one's query vectors, and 0 where the other's stand."""
        first = super().query_vectors(items, domains, times)
        second = self.second.query_vectors(items, domains, times)
        nothing = tf.zeros_like(first)
        return tf.concat([first, nothing], axis=2), tf.concat([nothing, second], axis=2)

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`, `[batch, queries, 2 dim]`."""
        first, second = self.view_queries(items, domains, times)
        of_first, of_second = self.view_weights(domains)
        return of_first[..., None] * first + of_second[..., None] * second

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """As in `MultiDomainModel`, the sum of both."""
        both = (super().batch_losses, self.second.batch_losses)
        parts = [losses(items, segments, training, timestamps).total for losses in both]
        return Losses(tf.add_n(parts))
