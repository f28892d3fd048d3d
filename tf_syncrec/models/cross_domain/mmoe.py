"""MMoE of Transformers: shared experts, a gate and a tower a domain (Ma et al., KDD 2018)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import Tower, TransformerExperts
from tf_syncrec.models.sequential import SequentialModel


@keras.saving.register_keras_serializable("tf_syncrec")
class MMoE(SequentialModel):
    """SyNCRec's parts without its ideas: one view, no asymmetry, no λ, no SC-MIM.

    K experts read the merged sequence; the domain that is asked for mixes them by its own gate,
    from the mean of what the slot sees, and reads the mixture through its own tower.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        experts: K.
        blocks: attention blocks of an expert.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: r.
        kwargs: as in `MultiDomainModel`.
    """

    def __init__(self, domain_sizes, *, experts=5, blocks=2, heads=1, ff_dim=None, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        self.experts = TransformerExperts(
            experts, blocks, self.dim, heads, ff_dim, self.dropout_rate, self.style, **part
        )
        self.gates = keras.layers.EinsumDense(
            "bsr,rdk->bsdk",
            output_shape=(None, self.num_domains, experts),
            bias_axes="dk",
            kernel_initializer=keras.initializers.RandomNormal(stddev=self.dim**-0.5),
            **part,
        )
        self.gates.build((None, None, self.dim))
        self.tower = Tower(self.num_domains, self.dim, self.dropout_rate, self.style, **part)
        self._arguments = {"experts": experts, "blocks": blocks, "heads": heads, "ff_dim": ff_dim}
        self.build_parts(self.experts, self.tower)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

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
        experts, dim = self.experts.num_experts, self.dim
        shape = tf.shape(encoded)
        outputs, logits = tf.split(encoded, [self._width, self._logits], axis=2)
        outputs = tf.reshape(outputs, [shape[0], shape[1], experts, dim])
        logits = tf.reshape(logits, [shape[0], shape[1], self.num_domains, experts])
        logits = tf.gather(tf.transpose(logits, [0, 2, 1, 3]), domains, batch_dims=1)
        mixed = tf.einsum("bsk,bskr->bsr", tf.nn.softmax(logits), outputs)
        return self.tower(mixed, domains, training=training)

    @property
    def _width(self):
        return self.experts.num_experts * self.dim

    @property
    def _logits(self):
        return self.num_domains * self.experts.num_experts
