"""An encoder for each domain, over a view in which slots of all of them are side by side."""

import tensorflow as tf

from tf_syncrec.layers import TransformerExperts


class DomainEncoders(TransformerExperts):
    """As many Transformers as there are domains; a slot has what that of its domain says.

    All encoders run over all slots, so that it costs as much as the number of domains, which are
    two where these networks come from. `num_experts` is the number of domains.
    """

    def of_domains(self, inputs, mask, domains, last=None, training=None):
        """Encodes each slot by the encoder of its domain.

        Args:
            inputs: `[batch, slots, dim]`.
            mask: `[batch, slots, slots]` bool, True where a slot (row) sees a slot (column).
            domains: `[batch, slots]` int32, whose encoder a slot has; negative: that of the first.
            last: as in `TransformerExperts`.
            training: whether dropout is on.

        Returns:
            `[batch, slots or last, dim]`.
        """
        encoded = self(inputs, mask, last=last, training=training)
        if last is not None:
            domains = domains[:, -last:]
        of_slots = tf.transpose(encoded, [1, 2, 0, 3])
        return tf.gather(of_slots, tf.maximum(domains, 0), batch_dims=2)
