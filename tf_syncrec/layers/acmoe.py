"""Asymmetric cooperative mixture of sequential experts, ACMoE (paper 4.2.1, Eq. 2-4)."""

import keras
import tensorflow as tf

from tf_syncrec.layers.domain_blocks import DomainBlocks
from tf_syncrec.layers.experts import TransformerExperts
from tf_syncrec.layers.gates import GATES
from tf_syncrec.layers.towers import Tower
from tf_syncrec.layers.views import View


@keras.saving.register_keras_serializable("tf_syncrec")
class ACMoE(keras.layers.Layer):
    """Two mixtures over the same K experts, one per task, each training its own experts only.

    Experts 1..j (`cross_experts`) learn from the cross-domain task: the single view uses their
    output through a stop-gradient. Experts j+1..K (`single_experts`) learn from the single-domain
    task, stopped in the cross view. The two groups are separate batched layers, so that TensorFlow
    builds no backward pass at all for the stopped half.

    Args:
        num_experts: K.
        num_cross_experts: j, with 0 < j < K.
        num_domains: |D|.
        window: T.
        dim: r.
        num_blocks: attention blocks per expert.
        num_heads: attention heads.
        ff_dim: inner width of the experts' feed-forward networks.
        dropout: rate inside experts and towers.
        style: `"pre_norm"` or `"paper"`, of experts and towers.
        gate: `"causal"` or `"sequence"` (as published).
        asymmetric: False removes the stop-gradients (Table 5, "w/o ACMoE").
        experts: layers in place of `TransformerExperts`, those of the cross-domain and those of the
            single-domain task, with j and K - j `num_experts` and a `call` like theirs.

    ```python
    items = tf.constant([[0, 0, 3, 12], [1, 11, 2, 15]])  # of domains with 10 and 5 items
    cross, single = split_views(items, None, offsets=tf.constant([1, 11]), window=3)
    embedding = SharedEmbedding(num_items=15, num_domains=2, window=3, dim=8)
    mixtures = ACMoE(num_experts=3, num_cross_experts=2, num_domains=2, window=3, dim=8)
    blocks = group_by_domain(single.domains, num_domains=2)
    y_cross = mixtures.cross(embedding(cross), cross)  # (2, 3, 8)
    y_single = blocks.scatter(mixtures.single(embedding(single), single, blocks), [2, 3])
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.2, Eq. 2-4.
    """

    def __init__(
        self,
        num_experts,
        num_cross_experts,
        num_domains,
        window,
        dim,
        num_blocks=2,
        num_heads=1,
        ff_dim=None,
        dropout=0.0,
        style="pre_norm",
        gate="causal",
        asymmetric=True,
        experts=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 < num_cross_experts < num_experts:
            raise ValueError(
                "num_cross_experts (j) must lie between 0 and num_experts (K). "
                f"Received: {num_cross_experts=}, {num_experts=}"
            )
        if gate not in GATES:
            raise ValueError(f"gate must be one of {sorted(GATES)}. Received: {gate!r}")
        self._config = {
            "num_experts": num_experts,
            "num_cross_experts": num_cross_experts,
            "num_domains": num_domains,
            "window": window,
            "dim": dim,
            "num_blocks": num_blocks,
            "num_heads": num_heads,
            "ff_dim": ff_dim,
            "dropout": dropout,
            "style": style,
            "gate": gate,
            "asymmetric": asymmetric,
        }
        self._given = experts and [
            keras.layers.deserialize(layer) if isinstance(layer, dict) else layer
            for layer in experts
        ]
        self.num_experts = num_experts
        self.num_cross_experts = num_cross_experts
        self.dim = dim
        self.asymmetric = asymmetric

        def part(kind, name, *args):
            return kind(*args, name=name, dtype=self.dtype_policy)

        j, expert = num_cross_experts, (num_blocks, dim, num_heads, ff_dim, dropout, style)
        self.cross_experts, self.single_experts = self._given or (
            part(TransformerExperts, "cross_experts", j, *expert),
            part(TransformerExperts, "single_experts", num_experts - j, *expert),
        )
        self.cross_gate = part(GATES[gate], "cross_gate", num_experts, 1, window, dim)
        self.single_gate = part(GATES[gate], "single_gate", num_experts, num_domains, window, dim)
        self.cross_tower = part(Tower, "cross_tower", 1, dim, dropout, style)
        self.single_tower = part(Tower, "single_tower", num_domains, dim, dropout, style)

    def build(self, input_shape=None):
        """Builds the parts; their shapes follow from the constructor's arguments alone."""
        for part in (self.cross_experts, self.single_experts, self.cross_gate, self.single_gate):
            if not part.built:
                part.build()
        for tower in (self.cross_tower, self.single_tower):
            tower.build()
        self.built = True

    def call(self, embedded, cross_view: View, training=None):
        """`cross`, of all slots; `single` has to be asked for."""
        return self.cross(embedded, cross_view, training=training)

    def cross(self, embedded, view: View, last=None, training=None):
        """Y^cross, Eq. 4.

        Args:
            embedded: E, `[batch, slots, dim]`.
            view: the cross view.
            last: number of slots at the end that are wanted; None for all.

        Returns:
            `[batch, slots or last, dim]`.
        """
        gates = self.cross_gate(embedded, tf.zeros_like(view.tokens), view.positions, view.mask)
        gates = _latest(gates, last)
        learning = self.cross_experts(embedded, view.mask, last=last, training=training)
        stopped = self._stop(self.single_experts(embedded, view.mask, last=last, training=training))
        mixed = self._mix(learning, stopped, gates)
        rows = tf.reshape(mixed, [1, -1, self.dim])
        return tf.reshape(self.cross_tower(rows, None, training=training), tf.shape(mixed))

    def single(self, embedded, view: View, blocks: DomainBlocks, last=None, training=None):
        """Y^single, Eq. 2, of all domains in their packed slots.

        Args:
            embedded: E^single, `[batch, slots, dim]`.
            view: the packed single view.
            blocks: the wanted slots grouped by domain.
            last: number of slots at the end that are wanted; None for all.

        Returns:
            `[blocks, block_size, dim]`, grouped as `blocks`.
        """
        gates = self.single_gate(embedded, view.domains, view.positions, view.mask)
        gates = _latest(gates, last)
        stopped = self._stop(self.cross_experts(embedded, view.mask, last=last, training=training))
        learning = self.single_experts(embedded, view.mask, last=last, training=training)
        mixed = blocks.gather(self._mix(stopped, learning, gates))
        return self.single_tower(mixed, blocks.domains, training=training)

    def _stop(self, x):
        return tf.stop_gradient(x) if self.asymmetric else x

    def _mix(self, cross_experts, single_experts, gates):
        """Sum over experts, weighted by the gates: `[experts, b, s, r]` -> `[b, s, r]`."""
        gates = tf.transpose(gates, [2, 0, 1])[..., None]  # (experts, batch, slots, 1)
        j = self.num_cross_experts
        return tf.reduce_sum(cross_experts * gates[:j], 0) + tf.reduce_sum(
            single_experts * gates[j:], 0
        )

    def get_config(self):
        """Constructor arguments."""
        experts = self._given and [keras.saving.serialize_keras_object(e) for e in self._given]
        return super().get_config() | dict(self._config) | {"experts": experts}


def _latest(x, last):
    """The last slots of `[batch, slots, ...]`; all where `last` is None."""
    return x if last is None else x[:, tf.shape(x)[1] - last :]
