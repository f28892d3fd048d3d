"""SASRec: one causal Transformer over the sequence (Kang and McAuley, ICDM 2018)."""

import keras

from tf_syncrec.layers import TransformerExperts
from tf_syncrec.models.sequential import SequentialModel


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
