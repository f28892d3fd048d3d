"""MMoE of Transformers: shared experts, a gate and a tower a domain (Ma et al., KDD 2018)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import Tower, TransformerExperts
from tf_syncrec.models.sequential import SequentialModel


class MMoE(SequentialModel):
    """SyNCRec's parts without its ideas: one view, no asymmetry, no λ, no SC-MIM.

    K experts read the merged sequence; the domain that is asked for mixes them by its own gate,
    from the mean of what the slot sees, and reads the mixture through its own tower.
    """

    def __init__(self, config, domain_sizes, **kwargs):
        super().__init__(config, domain_sizes, **kwargs)
        model = config.model
        self.experts = TransformerExperts(
            model.experts,
            model.blocks,
            model.dim,
            model.heads,
            model.ff_dim,
            model.dropout,
            model.style,
        )
        self.gates = keras.layers.EinsumDense(
            "bsr,rdk->bsdk",
            output_shape=(None, self.num_domains, model.experts),
            bias_axes="dk",
            kernel_initializer=keras.initializers.RandomNormal(stddev=model.dim**-0.5),
        )
        self.gates.build((None, None, model.dim))
        self.tower = Tower(self.num_domains, model.dim, model.dropout, model.style)
        self.build_parts(self.experts, self.tower)

    def encode(self, view, last=None, training=None):
        """Outputs of all experts and the gates' logits side by side, which `specialise` reads."""
        embedded = self.embedding(view, training=training)
        outputs = self.experts(embedded, view.mask, last=last, training=training)
        seen = tf.cast(view.mask, embedded.dtype)
        if last is not None:
            seen = seen[:, -last:]
        prefix = tf.matmul(seen, embedded) / tf.reduce_sum(seen, axis=2, keepdims=True)
        shape = tf.shape(prefix)
        outputs = tf.reshape(tf.transpose(outputs, [1, 2, 0, 3]), [shape[0], shape[1], self._width])
        logits = tf.reshape(self.gates(prefix), [shape[0], shape[1], self._logits])
        return tf.concat([outputs, logits], axis=2)

    def specialise(self, encoded, domains, training=None):
        """The domain's mixture of the experts through its tower."""
        model = self.config.model
        shape = tf.shape(encoded)
        outputs, logits = tf.split(encoded, [self._width, self._logits], axis=2)
        outputs = tf.reshape(outputs, [shape[0], shape[1], model.experts, model.dim])
        logits = tf.reshape(logits, [shape[0], shape[1], self.num_domains, model.experts])
        logits = tf.gather(tf.transpose(logits, [0, 2, 1, 3]), domains, batch_dims=1)
        mixed = tf.einsum("bsk,bskr->bsr", tf.nn.softmax(logits), outputs)
        return self.tower(mixed, domains, training=training)

    @property
    def _width(self):
        return self.config.model.experts * self.config.model.dim

    @property
    def _logits(self):
        return self.num_domains * self.config.model.experts
