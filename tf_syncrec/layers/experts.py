"""Transformer experts that run as one batched computation (paper 4.2.2, Eq. 5-7)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.dropout import Dropout
from tf_syncrec.layers.layer_norm import layer_norm


def attention_bias(mask, dtype):
    """0 where `mask` is True; elsewhere so low that a softmax is exactly zero there.

    Made once for all blocks: adding it costs less than selecting by the mask, forwards and
    backwards. Half of the lowest number, so that adding a logit does not overflow.
    """
    return tf.where(mask, tf.zeros([], dtype), dtype.min / 2)


class TransformerExperts(keras.layers.Layer):
    """K distinct causal Transformer encoders over the same input.

    Every weight carries a leading expert axis and every product is one batched matrix product, so
    that experts cost arithmetic but no extra operations.

    With `style="paper"` a block is exactly `FFN(MSA(Z))` of Eq. 5-7, with neither residual
    connections nor normalisation nor dropout inside; with `style="pre_norm"` it is the usual
    pre-normalised residual block and the stack ends in a layer normalisation.

    Args:
        num_experts: number of experts in this layer.
        num_blocks: attention blocks per expert.
        dim: r, the width.
        num_heads: p, attention heads; must divide `dim`.
        ff_dim: inner width of the feed-forward network (the paper uses r).
        dropout: rate on attention weights and on both residual branches (`pre_norm` only).
        style: `"pre_norm"` or `"paper"`.

    Reference: Pacer and Runner (SIGIR 2024), section 4.2.2.
    """

    def __init__(
        self,
        num_experts,
        num_blocks,
        dim,
        num_heads=1,
        ff_dim=None,
        dropout=0.0,
        style="pre_norm",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if dim % num_heads:
            raise ValueError(f"num_heads must divide dim. Received: {num_heads=}, {dim=}")
        if style not in ("pre_norm", "paper"):
            raise ValueError(f"style must be 'pre_norm' or 'paper'. Received: {style!r}")
        self.num_experts = num_experts
        self.num_blocks = num_blocks
        self.dim = dim
        self.num_heads = num_heads
        self.ff_dim = ff_dim or dim
        self.dropout_rate = dropout if style == "pre_norm" else 0.0
        self.style = style
        self.dropout = Dropout(self.dropout_rate)

    def build(self, input_shape=None):
        """Creates the stacked weights of every block."""
        # Fans are per expert: Keras would count the expert axis as a receptive field.
        stacked = StackedGlorotUniform()
        experts, dim = self.num_experts, self.dim
        self.blocks = []
        for i in range(self.num_blocks):
            block = {
                "qkv": self._weight((experts, dim, 3 * dim), stacked, f"block{i}_qkv"),
                "out": self._weight((experts, dim, dim), stacked, f"block{i}_out"),
                "w1": self._weight((experts, dim, self.ff_dim), stacked, f"block{i}_w1"),
                "b1": self._weight((experts, 1, self.ff_dim), "zeros", f"block{i}_b1"),
                "w2": self._weight((experts, self.ff_dim, dim), stacked, f"block{i}_w2"),
                "b2": self._weight((experts, 1, dim), "zeros", f"block{i}_b2"),
            }
            if self.style == "pre_norm":
                block |= self._norm(f"block{i}_attention_norm", "attention")
                block |= self._norm(f"block{i}_ffn_norm", "ffn")
            self.blocks.append(block)
        self.final = self._norm("final_norm", "final") if self.style == "pre_norm" else {}
        self.built = True

    def _weight(self, shape, initializer, name):
        return self.add_weight(shape=shape, initializer=initializer, name=name)

    def _norm(self, name, key):
        shape = (self.num_experts, 1, self.dim)
        return {
            f"{key}_scale": self._weight(shape, "ones", f"{name}_scale"),
            f"{key}_offset": self._weight(shape, "zeros", f"{name}_offset"),
        }

    def call(self, inputs, mask, last=None, training=None):
        """Runs every expert.

        Args:
            inputs: `[batch, slots, dim]`.
            mask: `[batch, slots, slots]` bool, True where a slot (row) sees a slot (column).
            last: number of slots at the end whose outputs are wanted; None for all. Nothing else
                is computed of the last block, which is most of a prediction's last half.

        Returns:
            `[experts, batch, slots or last, dim]`.
        """
        batch, slots = tf.shape(inputs)[0], tf.shape(inputs)[1]
        x = tf.reshape(inputs, [1, batch * slots, self.dim])  # broadcasts over experts
        bias = attention_bias(mask, x.dtype)[None, :, None]
        for block in self.blocks:
            wanted = slots if last is None or block is not self.blocks[-1] else last
            h = x
            if self.style == "pre_norm":
                h = layer_norm(x, block["attention_scale"], block["attention_offset"])
            h = self._attention(h, block, bias, batch, slots, wanted, training)
            if self.style == "paper":
                x = self._ffn(h, block)
                continue
            x = self._latest(x, batch, slots, wanted) + self.dropout(h, training=training)
            h = layer_norm(x, block["ffn_scale"], block["ffn_offset"])
            x += self.dropout(self._ffn(h, block), training=training)
        if self.final:
            x = layer_norm(x, self.final["final_scale"], self.final["final_offset"])
        return tf.reshape(x, [self.num_experts, batch, -1, self.dim])

    def _latest(self, x, batch, slots, wanted):
        """The last `wanted` slots: `[n, batch * slots, dim]` -> `[n, batch * wanted, dim]`."""
        if wanted is slots:
            return x
        x = tf.reshape(x, [-1, batch, slots, self.dim])[:, :, slots - wanted :]
        return tf.reshape(x, [-1, batch * wanted, self.dim])

    def _attention(self, x, block, bias, batch, slots, wanted, training):
        """MSA, Eq. 5-6: `[1 or experts, batch * slots, dim]` -> `[experts, batch * wanted, dim]`.

        Every slot is looked at, the last `wanted` ones look.
        """
        if wanted is slots:
            query, key, value = tf.unstack(self._heads(x, block["qkv"], batch, slots))
        else:
            asking, asked = block["qkv"][..., : self.dim], block["qkv"][..., self.dim :]
            latest = self._latest(x, batch, slots, wanted)
            (query,) = tf.unstack(self._heads(latest, asking, batch, wanted))
            key, value = tf.unstack(self._heads(x, asked, batch, slots))
            bias = bias[..., slots - wanted :, :]
        query *= (self.dim // self.num_heads) ** -0.5
        logits = tf.matmul(query, key, transpose_b=True)
        weights = self.dropout(tf.nn.softmax(logits + bias), training=training)
        heads_out = tf.transpose(tf.matmul(weights, value), [0, 1, 3, 2, 4])
        heads_out = tf.reshape(heads_out, [self.num_experts, batch * wanted, self.dim])
        return tf.matmul(heads_out, block["out"])

    def _heads(self, x, kernel, batch, slots):
        """`x @ kernel` as `[n, experts, batch, heads, slots, head_dim]` of n projections."""
        count = kernel.shape[-1] // self.dim
        shape = [self.num_experts, batch, slots, count, self.num_heads, self.dim // self.num_heads]
        return tf.transpose(tf.reshape(tf.matmul(x, kernel), shape), [3, 0, 1, 4, 2, 5])

    def _ffn(self, x, block):
        """Point-wise feed-forward network, Eq. 7."""
        hidden = tf.nn.gelu(tf.matmul(x, block["w1"]) + block["b1"])
        return tf.matmul(hidden, block["w2"]) + block["b2"]

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_experts": self.num_experts,
            "num_blocks": self.num_blocks,
            "dim": self.dim,
            "num_heads": self.num_heads,
            "ff_dim": self.ff_dim,
            "dropout": self.dropout_rate,
            "style": self.style,
        }


@keras.saving.register_keras_serializable("tf_syncrec")
class StackedGlorotUniform(keras.initializers.Initializer):
    """Glorot uniform for `[stack, in, out]` weights, with the fans of one of the stack."""

    def __init__(self, seed=None):
        self.seed = seed if seed is not None else keras.random.SeedGenerator()

    def __call__(self, shape, dtype=None):
        limit = (6.0 / (shape[-2] + shape[-1])) ** 0.5
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)
