"""MIFN: behaviour handed to other domains, and knowledge of which items are related (TKDD 2022)."""

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers import item_domains
from tf_syncrec.layers.experts import StackedGlorotUniform, attention_bias
from tf_syncrec.layers.views import PAD
from tf_syncrec.models.cross_domain.pi_net import PiNet
from tf_syncrec.models.cross_domain.two_domains.related_items import RELATED, related_items
from tf_syncrec.utils.variables import fill

KINDS = ("within", "across")
"""What an item is related to: items of its own domain, and of another."""


@keras.saving.register_keras_serializable("tf_syncrec")
class MIFN(PiNet):
    """Two flows of information between domains: what was done, and what is known of items.

    The behaviour transfer unit (BTU) is a recurrent network a domain, h_d, a gated filter of its
    states that knows of the others', and a recurrent network over that, c, handed to the other
    domains: the units of `PiNet` for one latent user, who is a bias here.

    The knowledge transfer unit (KTU) has a graph of items. Its nodes are for domain d the items of
    d that are related to the latest item of d ("within"), and those of d that are related to the
    latest item of another domain ("across"). Of each kind they are attended to, by h_d within and
    by c across, and a gate of each node says how much of either is of use::

        a = softmax of v · tanh(W_h q + W_e e),   f = σ(W [h_d; c; e] + b)
        g = sum within of f * a e W_1 + sum across of (1 - f) * a e W_2

    A switch p = σ(w [h_d; c; g] + b) of the domain decides: `(1 - p) W_d [h_d; c] + p g` predicts.

    The paper's graph is of five relations of Amazon's metadata, as "also bought", which other data
    do not have: here items are related that the same users had in training (`related_items`), five
    of them at least. Of these a user is one, in training: targets are nodes more often there than
    afterwards, so that the switch and the gates trust knowledge somewhat too much.
    Left out with the relations: convolutions over them and the update of nodes by a recurrent
    network. As the paper's mixture of two distributions over items is no dot product, vectors are
    mixed; the loss that tells the switch whether the target is a node is left out. With more than
    two domains, "the others" is the mean of those that the user had, as in `PiNet`, and across
    counts the latest item of all of these; with two this is as the paper has it.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        related: of `related_items`, or how many of each domain there will be.
        kwargs: as in `MultiDomainModel`.

    Reference: Mixed Information Flow for Cross-Domain Sequential Recommendations (TKDD 2022, arXiv
    2012.00485), section 4.
    """

    def __init__(self, domain_sizes, *, related: int | np.ndarray = RELATED, **kwargs):
        super().__init__(domain_sizes, members=1, **kwargs)
        dim, count = self.dim, self.num_domains
        # Open to what is new, as published.
        self.recurrent.cell.gate_bias.assign(-tf.ones_like(self.recurrent.cell.gate_bias))
        given = None if isinstance(related, int) else np.asarray(related, np.int32)
        self.related_count = related if given is None else given.shape[2]
        self.related = self.add_weight(
            shape=(self.num_items + 1, count, self.related_count),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="related",
        )
        if given is not None:
            fill(self.related, given)
        stacked, kinds = StackedGlorotUniform(), len(KINDS)

        def weight(name, *shape, initializer=stacked):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.node_query = weight("node_query", kinds, dim, dim)
        self.node_key = weight("node_key", kinds, dim, dim)
        self.node_weight = weight("node_weight", kinds, dim, 1)
        self.node_value = weight("node_value", kinds, dim, dim)
        self.gate = weight("gate", 3, dim, dim)
        self.gate_bias = weight("gate_bias", dim, initializer="zeros")
        self.switch = weight("switch", count, 3 * dim, 1)
        self.switch_bias = weight("switch_bias", count, 1, 1, initializer="zeros")

    @property
    def learned(self):
        """As in `MultiDomainModel`; relations are those of the data."""
        return [weight for weight in super().learned if weight is not self.related]

    @property
    def item_lists(self):
        """As in `MultiDomainModel`."""
        return [*super().item_lists, self.related]

    def get_config(self):
        """Constructor arguments; relations are a weight, of which this has the number."""
        config = super().get_config() | {"related": self.related_count}
        del config["members"]
        return config

    @classmethod
    def arguments_from(cls, prepared):
        """As in `MultiDomainModel`: which items the same users had."""
        return {"related": related_items(prepared)}

    def encode(self, view, last=None, training=None):
        """h, c and g side by side, which `specialise` reads.

        Of all slots, as in training, they are those of the domain of each slot alone, `[batch,
        slots, 3 dim]`: nodes are what takes memory. Of the last ones, of all domains, `[batch,
        last, domains * 3 dim]`.
        """
        h, c = self.states(view, last=last, training=training)
        own, others = self.latest(view, last)
        if last is None:
            domains = tf.maximum(view.domains, 0)[..., None]
            h, c, own, others = (tf.gather(x, domains, batch_dims=2) for x in (h, c, own, others))
            count = 1
        else:
            count = self.num_domains
            domains = tf.range(count)
        x = tf.concat([h, c, self.knowledge(h, c, own, others, domains)], axis=-1)
        return tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], count * 3 * self.dim])

    def latest(self, view, last=None):
        """The latest item of each domain and of the others, two times `[batch, slots, domains]`.

        0 where there is none.
        """
        tokens, mask = view.tokens, view.mask if last is None else view.mask[:, -last:]
        of_item = tf.where(tokens > PAD, item_domains(tokens, self.offsets), -1)
        places = tf.range(tf.shape(tokens)[1])
        own = tf.stack(
            [
                tf.reduce_max(tf.where(mask & (of_item == d)[:, None], places, -1), axis=2)
                for d in range(self.num_domains)
            ],
            axis=-1,
        )
        apart = ~tf.eye(self.num_domains, dtype=tf.bool)
        others = tf.reduce_max(tf.where(apart, own[..., None, :], -1), axis=-1)

        def items(at):
            found = tf.gather(tokens, tf.maximum(at, 0), batch_dims=1)
            return tf.where(at >= 0, found, PAD)

        return items(own), items(others)

    def knowledge(self, h, c, own, others, domains):
        """KTU: g, `[batch, slots, queries, dim]`.

        Args:
            h: `[batch, slots, queries, dim]`.
            c: the same.
            own: `[batch, slots, queries]` ids, the latest item of the domain; 0: none.
            others: the latest of the others.
            domains: the domains that are asked for, int32 that broadcasts to the same.
        """

        def cast(weight):
            return tf.cast(tf.convert_to_tensor(weight), h.dtype)

        lists = tf.reshape(self.related.value, [-1, self.related_count])
        of_h, of_c, of_node = tf.unstack(cast(self.gate))
        # Here and below not `tf.matmul`, see `PairScores`.
        gate = tf.tensordot(h, of_h, 1) + tf.tensordot(c, of_c, 1) + cast(self.gate_bias)
        g = 0.0
        for kind, (query, items) in enumerate(((h, own), (c, others))):
            nodes = tf.gather(lists, items * self.num_domains + domains)
            e = self.embedding.embed_items(nodes, of_batch=False)  # (..., queries, related, dim)
            w_query, w_key, w_value, v = (
                cast(weight)[kind]
                for weight in (self.node_query, self.node_key, self.node_value, self.node_weight)
            )
            asked = tf.tensordot(query, w_query, 1)[..., None, :]
            logits = tf.tensordot(tf.tanh(asked + tf.tensordot(e, w_key, 1)), v, 1)[..., 0]
            there = nodes != PAD
            shares = tf.nn.softmax(tf.cast(logits, tf.float32) + attention_bias(there))
            shares = tf.cast(tf.where(there, shares, 0.0), h.dtype)[..., None]
            open_ = tf.sigmoid(gate[..., None, :] + tf.tensordot(e, of_node, 1))
            open_ = 1.0 - open_ if KINDS[kind] == "across" else open_
            g += tf.tensordot(tf.reduce_sum(open_ * shares * e, axis=-2), w_value, 1)
        return g

    def specialise(self, encoded, domains, training=None):
        """The prediction by behaviour and that by knowledge, as the domain's switch has it."""
        count = encoded.shape[2] // (3 * self.dim)
        x = encoded
        if count > 1:  # of all domains
            shape = [tf.shape(encoded)[0], tf.shape(encoded)[1], count, 3 * self.dim]
            by_domain = tf.transpose(tf.reshape(encoded, shape), [0, 2, 1, 3])
            x = tf.gather(by_domain, domains, batch_dims=1)
        switch, bias, kernel, offset = (
            tf.cast(tf.gather(tf.convert_to_tensor(weight), domains), x.dtype)
            for weight in (
                self.switch,
                self.switch_bias,
                self.outputs_kernel,
                self.outputs_bias,
            )
        )
        p = tf.sigmoid(tf.matmul(x, switch) + bias)
        behaviour = self.dropout(x[..., : 2 * self.dim], training=training)
        behaviour = tf.matmul(behaviour, kernel) + offset
        return (1.0 - p) * behaviour + p * x[..., 2 * self.dim :]
