"""SASRec: one causal Transformer over the sequence (Kang and McAuley, ICDM 2018)."""

from tf_syncrec.layers import TransformerExperts
from tf_syncrec.models.sequential import SequentialModel


class SASRec(SequentialModel):
    """A single expert of SyNCRec's own kind, and nothing else.

    Trained on merged sequences it is `sasrec_cross`, one model a domain `sasrec_single`.
    """

    def __init__(self, config, domain_sizes, **kwargs):
        super().__init__(config, domain_sizes, **kwargs)
        model = config.model
        self.encoder = TransformerExperts(
            1, model.blocks, model.dim, model.heads, model.ff_dim, model.dropout, model.style
        )
        self.build_parts(self.encoder)

    def encode(self, view, last=None, training=None):
        """As in `SequentialModel`."""
        embedded = self.embedding(view, training=training)
        return self.encoder(embedded, view.mask, last=last, training=training)[0]
