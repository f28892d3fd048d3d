"""Gating networks: how much each expert counts (paper 4.2.1, Eq. 3)."""

import keras
import tensorflow as tf


class _Gate(keras.layers.Layer):
    """Common part: one set of gate weights per domain (g^d), or a single one (g^cross)."""

    def __init__(self, num_experts, num_domains, window, dim, **kwargs):
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.num_domains = num_domains
        self.window = window
        self.dim = dim

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_experts)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_experts": self.num_experts,
            "num_domains": self.num_domains,
            "window": self.window,
            "dim": self.dim,
        }


@keras.saving.register_keras_serializable("tf_syncrec")
class SequenceGate(_Gate):
    """The published gate: one softmax over the experts from the whole flattened sequence.

    `softmax(W_g^d E^d)` with `W_g^d` of shape `[K, dim * T]`. Slot t thereby sees later items
    during training, which no prediction can; `CausalGate` does not. Arguments as in `CausalGate`.

    ```python
    gate = SequenceGate(num_experts=3, num_domains=2, window=5, dim=8)
    domains, positions = tf.zeros([4, 5], tf.int32), tf.tile(tf.range(5)[None], [4, 1])
    causal = tf.linalg.band_part(tf.ones([4, 5, 5], tf.bool), -1, 0)
    weights = gate(tf.random.normal([4, 5, 8]), domains, positions, causal)  # (4, 5, 3)
    ```

    Reference: Pacer and Runner (SIGIR 2024), Eq. 3.
    """

    def build(self, input_shape=None):
        """Creates W_g `[domains, window, dim, experts]`."""
        fan_in = self.window * self.dim
        self.kernel = self.add_weight(
            shape=(self.num_domains, self.window, self.dim, self.num_experts),
            initializer=keras.initializers.RandomNormal(stddev=fan_in**-0.5),
            name="kernel",
        )
        self.built = True

    def call(self, inputs, domains, positions, mask):
        """Gate weights of every slot.

        Args:
            inputs: E, `[batch, slots, dim]`, zero at padding.
            domains: `[batch, slots]` int32 index of the gate to use; padding may be negative.
            positions: `[batch, slots]` int32 row of the window.
            mask: `[batch, slots, slots]` bool, who sees whom.

        Returns:
            `[batch, slots, experts]`, the same for all slots of a sequence of a domain.
        """
        domains = tf.maximum(domains, 0)
        rows = tf.reshape(self.kernel, [-1, self.dim, self.num_experts])
        kernels = tf.gather(rows, domains * self.window + positions)
        partial = tf.einsum("bsr,bsrk->bsk", inputs, kernels)  # each slot's share of W_g E
        # Mask or its transpose: every slot of the same sequence, earlier or later.
        together = tf.cast(mask | tf.linalg.matrix_transpose(mask), partial.dtype)
        return _softmax(tf.matmul(together, partial))


@keras.saving.register_keras_serializable("tf_syncrec")
class CausalGate(_Gate):
    """A gate for each slot from the mean of what the slot sees, and nothing later.

    Args:
        num_experts: K.
        num_domains: number of gates in the layer; 1 for g^cross.
        window: T.
        dim: r.

    ```python
    gate = CausalGate(num_experts=3, num_domains=2, window=5, dim=8)
    domains, positions = tf.zeros([4, 5], tf.int32), tf.tile(tf.range(5)[None], [4, 1])
    causal = tf.linalg.band_part(tf.ones([4, 5, 5], tf.bool), -1, 0)
    weights = gate(tf.random.normal([4, 5, 8]), domains, positions, causal)  # (4, 5, 3)
    ```

    Reference: Pacer and Runner (SIGIR 2024), Eq. 3, which reads the whole sequence.
    """

    def build(self, input_shape=None):
        """Creates W_g `[dim, domains * experts]` and its bias."""
        self.kernel = self.add_weight(
            shape=(self.dim, self.num_domains * self.num_experts),
            initializer=keras.initializers.RandomNormal(stddev=self.dim**-0.5),
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.num_domains * self.num_experts,), initializer="zeros", name="bias"
        )
        self.built = True

    def call(self, inputs, domains, positions, mask):
        """Gate weights of every slot; arguments and shapes as in `SequenceGate.call`."""
        visible = tf.cast(mask, inputs.dtype)
        prefix = tf.matmul(visible, inputs) / tf.reduce_sum(visible, axis=-1, keepdims=True)
        shape = tf.shape(inputs)
        # Flat first: (b, s, r) @ (r, n) would run as a batch of small products.
        logits = tf.matmul(tf.reshape(prefix, [-1, self.dim]), self.kernel) + self.bias
        logits = tf.reshape(logits, [-1, self.num_domains, self.num_experts])
        logits = tf.gather(logits, tf.reshape(tf.maximum(domains, 0), [-1]), batch_dims=1)
        return _softmax(tf.reshape(logits, [shape[0], shape[1], self.num_experts]))


def _softmax(logits):
    """In float32, so that the weights add up to 1 as well as their type allows."""
    return tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), logits.dtype)


GATES = {"sequence": SequenceGate, "causal": CausalGate}
