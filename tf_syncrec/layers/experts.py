"""Transformer experts that run as one batched computation (paper 4.2.2, Eq. 5-7)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.dropout import Dropout

EPSILON = 1e-6
"""Of layer normalisation, added to the variance."""


def attention_bias(mask):
    """0 where `mask` is True; elsewhere so low that a softmax is exactly zero there; float32.

    Made once for all blocks: adding it costs less than selecting by the mask, forwards and
    backwards. Half of the lowest number, so that adding a logit does not overflow.
    """
    return tf.where(mask, 0.0, tf.float32.min / 2)


def layer_norm(x, scale, offset):
    """Keras's layer normalisation; scale and offset broadcast, so experts may have their own.

    They are applied here, since Keras's operation makes more passes over x to do so.
    """
    y = keras.ops.layer_normalization(tf.cast(x, tf.float32), epsilon=EPSILON)
    return tf.cast(y * scale + offset, x.dtype)


def feed_forward(x, w1, b1, w2, b2):
    """`GELU(x W1 + b1) W2 + b2` with the exact GELU, z Φ(z) (paper Eq. 7).

    Args:
        x: `[..., rows, in]`.
        w1: `[..., in, inner]`.
        b1: `[..., 1, inner]`.
        w2: `[..., inner, out]`.
        b2: `[..., 1, out]`.

    Returns:
        `[..., rows, out]`.
    """
    return tf.matmul(tf.nn.gelu(tf.matmul(x, w1) + b1, approximate=False), w2) + b2


def swiglu(x, gate, up, down):
    """`(silu(x W_gate) * x W_up) W_down`, without biases (Shazeer, 2020).

    Args:
        x: `[..., rows, in]`.
        gate: `[..., in, inner]`.
        up: `[..., in, inner]`.
        down: `[..., inner, out]`.

    Returns:
        `[..., rows, out]`.
    """
    return tf.matmul(tf.nn.silu(tf.matmul(x, gate)) * tf.matmul(x, up), down)


@keras.saving.register_keras_serializable("tf_syncrec")
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

    ```python
    experts = TransformerExperts(num_experts=3, num_blocks=2, dim=8)
    causal = tf.linalg.band_part(tf.ones([4, 5, 5], tf.bool), -1, 0)
    outputs = experts(tf.random.normal([4, 5, 8]), causal)  # (3, 4, 5, 8)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.2.2, Eq. 5-7.
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
        self.dropout_rate = dropout
        self.style = style
        self.dropout = Dropout(dropout if style == "pre_norm" else 0.0, dtype=self.dtype_policy)

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

    def _weight(self, shape, initializer, name, **kwargs):
        return self.add_weight(shape=shape, initializer=initializer, name=name, **kwargs)

    def _norm(self, name, key):
        shape = (self.num_experts, 1, self.dim)
        return {
            f"{key}_scale": self._weight(shape, "ones", f"{name}_scale", autocast=False),
            f"{key}_offset": self._weight(shape, "zeros", f"{name}_offset", autocast=False),
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
        bias = attention_bias(mask)[None, :, None]
        for block in self.blocks:
            w = {name: tf.cast(weight, x.dtype) for name, weight in block.items()}
            wanted = slots if last is None or block is not self.blocks[-1] else last
            h = self._normalised(x, block, "attention")
            h = self._attention(h, w["qkv"], w["out"], bias, batch, slots, wanted, training)
            if self.style == "pre_norm":
                x = self._latest(x, batch, slots, wanted) + self.dropout(h, training=training)
                h = self._normalised(x, block, "ffn")
            h = feed_forward(h, w["w1"], w["b1"], w["w2"], w["b2"])
            x = x + self.dropout(h, training=training) if self.style == "pre_norm" else h
        x = self._normalised(x, self.final, "final")
        return tf.reshape(x, [self.num_experts, batch, slots if last is None else last, self.dim])

    def _normalised(self, x, weights, key):
        """Layer normalisation with each expert's own scale and offset; x where there is none."""
        if self.style == "paper":
            return x
        return layer_norm(x, weights[f"{key}_scale"], weights[f"{key}_offset"])

    def _latest(self, x, batch, slots, wanted):
        """The last `wanted` slots: `[n, batch * slots, dim]` -> `[n, batch * wanted, dim]`."""
        if wanted is slots:
            return x
        count = x.shape[0]  # not -1, which of no rows could be anything
        x = tf.reshape(x, [count, batch, slots, self.dim])[:, :, slots - wanted :]
        return tf.reshape(x, [count, batch * wanted, self.dim])

    def _attention(self, x, qkv, out, bias, batch, slots, wanted, training):
        """MSA, Eq. 5-6: `[1 or experts, batch * slots, dim]` -> `[experts, batch * wanted, dim]`.

        Every slot is looked at, the last `wanted` ones look.
        """
        w_q, w_k, w_v, w_out = self._projections(qkv, out)
        query = self._heads(self._latest(x, batch, slots, wanted), w_q, batch, wanted)
        key, value = (self._heads(x, w, batch, slots) for w in (w_k, w_v))
        if wanted is not slots:
            bias = bias[..., slots - wanted :, :]
        logits = tf.cast(tf.matmul(query, key, transpose_b=True), bias.dtype)
        weights = tf.cast(tf.nn.softmax(logits + bias), x.dtype)
        mixed = tf.matmul(self.dropout(weights, training=training), value)
        if self.num_heads > 1:
            mixed = tf.transpose(mixed, [0, 1, 3, 2, 4])
        mixed = tf.reshape(mixed, [self.num_experts, batch * wanted, self.dim])
        return tf.matmul(mixed, w_out)

    def _projections(self, qkv, out):
        """Of queries, keys, values and results; None for keys and values that are the slots."""
        w_q, w_k, w_v = tf.split(qkv, 3, axis=-1)
        w_q *= (self.dim // self.num_heads) ** -0.5
        if self.num_heads > 1:
            return w_q, w_k, w_v, out
        # (x W^Q)(x W^K)^T = (x W^Q W^K^T) x^T, and W^V W^O likewise: products of two weights in
        # place of two products with all slots.
        return tf.matmul(w_q, w_k, transpose_b=True), None, None, tf.matmul(w_v, out)

    def _heads(self, x, w, batch, length):
        """`x @ w`, or x where w is None, as `[n, batch, heads, length, head_dim]`."""
        x = x if w is None else tf.matmul(x, w)
        if self.num_heads == 1:
            return tf.reshape(x, [x.shape[0], batch, 1, length, self.dim])
        size = self.dim // self.num_heads
        x = tf.reshape(x, [x.shape[0], batch, length, self.num_heads, size])
        return tf.transpose(x, [0, 1, 3, 2, 4])

    def compute_output_shape(self, input_shape):
        return (self.num_experts, *input_shape)

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
