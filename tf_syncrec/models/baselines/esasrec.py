"""eSASRec: SASRec with the gated blocks of LiGR (RecSys 2025)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import Dropout
from tf_syncrec.layers.experts import EPSILON, StackedGlorotUniform, swiglu
from tf_syncrec.models.sequential import SequentialModel


@keras.saving.register_keras_serializable("tf_syncrec")
class GatedBlock(keras.layers.Layer):
    """A causal Transformer block whose branches pass through gates that the residual stream sets.

    `x = x + σ(x W_1 + b_1) * MSA(LN(x))`, then `x = x + σ(x W_2 + b_2) * SwiGLU(LN(x))`.

    Args:
        dim: r, the width.
        heads: attention heads; must divide `dim`.
        ff_dim: inner width of the feed-forward network.
        dropout: rate on attention weights and on both branches.

    Reference: From Features to Transformers (arXiv 2502.03417), the section on LiGR's layers.
    """

    def __init__(self, dim, heads, ff_dim, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.heads, self.ff_dim, self.dropout_rate = dim, heads, ff_dim, dropout
        part = {"dtype": self.dtype_policy}
        # Without biases as everybody's; that of keys could not even learn, softmax removes it.
        self.attention = keras.layers.MultiHeadAttention(
            heads, dim // heads, dropout=dropout, use_bias=False, **part
        )
        self.norms = [keras.layers.LayerNormalization(epsilon=EPSILON, **part) for _ in range(2)]
        self.gates = [keras.layers.Dense(dim, "sigmoid", **part) for _ in range(2)]
        self.dropout = Dropout(dropout, **part)

    def build(self, input_shape=None):
        """Creates all weights."""
        shape = (None, None, self.dim)
        self.attention.build(shape, shape)
        for part in (*self.norms, *self.gates):
            part.build(shape)
        into, out = (self.dim, self.ff_dim), (self.ff_dim, self.dim)
        self.feed_forward = [
            self.add_weight(shape=size, initializer=StackedGlorotUniform(), name=f"ff_{name}")
            for name, size in (("gate", into), ("up", into), ("down", out))
        ]
        self.built = True

    def call(self, x, mask, last=None, training=None):
        """Runs the block.

        Args:
            x: `[batch, slots, dim]`.
            mask: `[batch, slots, slots]` bool, True where a slot (row) sees a slot (column).
            last: number of slots at the end that are wanted; None for all.

        Returns:
            `[batch, slots or last, dim]`.
        """
        seen = self.norms[0](x)
        looking = seen
        if last is not None:
            x, looking, mask = x[:, -last:], seen[:, -last:], mask[:, -last:]
        attended = self.attention(looking, seen, attention_mask=mask, training=training)
        x = x + self.gates[0](x) * self.dropout(attended, training=training)
        weights = (tf.convert_to_tensor(weight) for weight in self.feed_forward)
        fed = swiglu(self.norms[1](x), *weights)
        return x + self.gates[1](x) * self.dropout(fed, training=training)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "dim": self.dim,
            "heads": self.heads,
            "ff_dim": self.ff_dim,
            "dropout": self.dropout_rate,
        }


@keras.saving.register_keras_serializable("tf_syncrec")
class ESASRec(SequentialModel):
    """SASRec's task, LiGR's blocks and a sampled softmax: the strongest plain SASRec.

    The published model is this one with `similarity="dot"`; loss, negatives and similarity are like
    everybody's here, the default loss being the sampled softmax that its authors recommend.
    Left out: what LiGR has for ranking candidates together (attention among them), which eSASRec
    has not, either. As published there is no normalisation behind the last block; `style` is not
    read, for without residual connections there is nothing to be gated.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        blocks: gated blocks.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: 4 r, as published.
        kwargs: as in `MultiDomainModel`.

    Reference: eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion
    (RecSys 2025, arXiv 2508.06450).
    """

    def __init__(self, domain_sizes, *, blocks=2, heads=1, ff_dim=None, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        self.blocks = [
            GatedBlock(
                self.dim,
                heads,
                ff_dim or 4 * self.dim,
                self.dropout_rate,
                dtype=self.dtype_policy,
            )
            for _ in range(blocks)
        ]
        self._arguments = {"blocks": blocks, "heads": heads, "ff_dim": ff_dim}
        self.build_parts(*self.blocks)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | dict(self._arguments)

    def encode(self, view, last=None, training=None):
        """As in `SequentialModel`."""
        x = self.embedding(view, training=training)
        for block in self.blocks:
            wanted = last if block is self.blocks[-1] else None
            x = block(x, view.mask, last=wanted, training=training)
        return x
