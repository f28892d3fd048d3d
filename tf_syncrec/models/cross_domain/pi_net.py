"""π-Net: domains read side by side, gates decide what goes from one to another (SIGIR 2019)."""

import keras
import tensorflow as tf

from tf_syncrec.layers import Dropout, item_domains
from tf_syncrec.layers.experts import StackedGlorotUniform
from tf_syncrec.layers.views import PAD
from tf_syncrec.models.sequential import SequentialModel

UNITS = ("encoder", "filter", "transfer")
"""What a domain has a state of, in the order in which they stand in the state of the cell."""


def gru(x, state, weights):
    """One step of gated recurrent units, of which each domain has its own (Cho et al., 2014).

    Args:
        x: `[batch, domains, dim]`.
        state: the same.
        weights: those of x and of the state, `[domains, dim, 3 dim]`, and a bias,
            `[domains, 3 dim]`; of update gate, reset gate and candidate.

    Returns:
        The next state.
    """
    of_x, of_state, bias = weights
    update_x, reset_x, new_x = tf.split(tf.einsum("bdi,dio->bdo", x, of_x) + bias, 3, axis=-1)
    of_gates, of_new = of_state[..., : 2 * x.shape[-1]], of_state[..., 2 * x.shape[-1] :]
    update_h, reset_h = tf.split(tf.einsum("bdi,dio->bdo", state, of_gates), 2, axis=-1)
    update, reset = tf.sigmoid(update_x + update_h), tf.sigmoid(reset_x + reset_h)
    new = tf.tanh(new_x + tf.einsum("bdi,dio->bdo", reset * state, of_new))
    return update * state + (1.0 - update) * new


class ParallelCell(keras.layers.Layer):
    """A step of all domains: of the domain of the item the three units move, the others wait.

    Args:
        num_domains: |D|.
        dim: r.
        members: K, latent users of an account.
    """

    def __init__(self, num_domains, dim, members, **kwargs):
        super().__init__(**kwargs)
        self.num_domains, self.dim, self.members = num_domains, dim, members
        self.state_size = self.output_size = len(UNITS) * num_domains * dim

    def build(self, input_shape=None):
        """Creates the weights of each domain."""
        count, dim = self.num_domains, self.dim
        stacked = StackedGlorotUniform()

        def weight(name, *shape, initializer=stacked):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.recurrent = {
            unit: [
                weight(f"{unit}_input", count, dim, 3 * dim),
                weight(f"{unit}_state", count, dim, 3 * dim),
                weight(f"{unit}_bias", count, 3 * dim, initializer="zeros"),
            ]
            for unit in ("encoder", "transfer")
        }
        users = keras.initializers.RandomNormal(stddev=dim**-0.5)
        self.users = weight("members", count, self.members, dim, initializer=users)
        self.gate = weight("filter_gate", count, 3 * dim, dim)
        self.gate_members = weight("filter_gate_members", count, dim, dim)
        # Open to what was there, as published.
        self.gate_bias = weight("filter_gate_bias", count, dim, initializer="ones")
        self.new = weight("filter_new", count, 2 * dim, dim)
        self.new_members = weight("filter_new_members", count, dim, dim)
        self.new_bias = weight("filter_new_bias", count, dim, initializer="zeros")
        self.built = True

    def call(self, inputs, states, training=None):
        """One step.

        Args:
            inputs: `[batch, dim + 2 domains]`: an embedded item, 1 for each domain that moves, and
                1 for each domain that the user has had an item of.
            states: list of one, `[batch, 3 domains dim]`.

        Returns:
            The next state, twice, as `keras.layers.RNN` wants it.
        """
        rows, count, dim = tf.shape(inputs)[0], self.num_domains, self.dim
        before = tf.reshape(states[0], [rows, len(UNITS), count, dim])
        encoded, filtered, transferred = tf.unstack(before, axis=1)
        x, moves, had = tf.split(inputs, [dim, count, count], axis=1)
        moves = moves[:, :, None]

        x = tf.repeat(x[:, None], count, axis=1)
        encoded += moves * (self._gru("encoder", x, encoded) - encoded)
        filtered += moves * (self._filter(encoded, had, filtered) - filtered)
        transferred += moves * (self._gru("transfer", filtered, transferred) - transferred)

        after = tf.stack([encoded, filtered, transferred], axis=1)
        after = tf.reshape(after, [rows, self.state_size])
        return after, [after]

    def _gru(self, unit, x, state):
        return gru(x, state, [tf.convert_to_tensor(w) for w in self.recurrent[unit]])

    def _filter(self, encoded, had, state):
        """The shared account filter unit, of each domain towards the others."""

        def of_account(x, weights, users, bias):
            """What the account gives to each member, `[batch, domains, members, dim]`."""
            weights, users, bias, members = map(
                tf.convert_to_tensor, (weights, users, bias, self.users)
            )
            shared = tf.einsum("bdi,dio->bdo", x, weights) + bias
            return shared[:, :, None] + tf.einsum("dki,dio->dko", members, users)

        seen = tf.concat([encoded, mean_of_others(encoded, had), state], axis=-1)
        gate = tf.sigmoid(of_account(seen, self.gate, self.gate_members, self.gate_bias))
        seen = tf.concat([encoded, state], axis=-1)
        new = tf.tanh(of_account(seen, self.new, self.new_members, self.new_bias))
        return tf.reduce_mean(gate * state[:, :, None] + (1.0 - gate) * new, axis=2)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_domains": self.num_domains,
            "dim": self.dim,
            "members": self.members,
        }


def mean_of_others(x, had):
    """Of each domain, the mean of the others that the user has had items of; 0 if there are none.

    Args:
        x: `[..., domains, dim]`.
        had: `[..., domains]`, 1 for those domains, else 0.

    Returns:
        `[..., domains, dim]`.
    """
    had = had[..., None]
    others = tf.reduce_sum(had * x, axis=-2, keepdims=True) - had * x
    count = tf.reduce_sum(had, axis=-2, keepdims=True) - had
    return tf.math.divide_no_nan(others, count)


@keras.saving.register_keras_serializable("tf_syncrec")
class PiNet(SequentialModel):
    """A recurrent network a domain; filtered by gates, its state is handed to the other domains.

    At each item of domain d move, of d alone, in this order: the encoder, `h_d = GRU(e, h_d)`; the
    shared account filter unit (SFU), which for each of K latent users of the account says by a
    gate f_k what of the domain may be of use elsewhere, ::

        f_k = σ(W_f [h_d; h_other; s_d] + V_f u_k + b_f)
        s_d = mean over k of f_k * s_d + (1 - f_k) * tanh(W_s [h_d; s_d] + V_s u_k + b_s)

    and the cross-domain transfer unit (CTU), `c_d = GRU(s_d, c_d)`. In domain d the next item is
    predicted from h_d and what the others hand over, c_other, by a matrix of the domain.

    The paper has two domains. With more, "other" is the mean of the others of which the user has
    had an item, so that with two this is the paper's network. Loss, negatives and items are
    everybody's: the paper's softmax over all items of a domain is `loss.negatives` of as many. All
    items of the sequence are targets, in the paper the last one. The start token begins the
    sequence of every domain; positions play no part.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        members: K, latent users of an account; 4 is the paper's best.
        kwargs: as in `MultiDomainModel`.

    Reference: π-Net: A Parallel Information-sharing Network for Shared-account Cross-domain
    Sequential Recommendations (SIGIR 2019), section 3.
    """

    batch_layout = "padded"  # its state would run from one sequence of a row into the next

    def __init__(self, domain_sizes, *, members=4, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        self.members = members
        cell = ParallelCell(self.num_domains, self.dim, members, **part)
        self.recurrent = keras.layers.RNN(cell, return_sequences=True, **part)
        self.recurrent.build((None, None, self.dim + 2 * self.num_domains))
        self.outputs_kernel = self.add_weight(
            shape=(self.num_domains, 2 * self.dim, self.dim),
            initializer=StackedGlorotUniform(),
            name="outputs_kernel",
        )
        self.outputs_bias = self.add_weight(
            shape=(self.num_domains, 1, self.dim), initializer="zeros", name="outputs_bias"
        )
        self.dropout = Dropout(self.dropout_rate, **part)
        self.build_parts()

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"members": self.members}

    def states(self, view, last=None, training=None):
        """States of all domains and what the others hand over.

        Args:
            view: as in `encode`.
            last: likewise.
            training: likewise.

        Returns:
            Two times `[batch, slots or last, domains, dim]`.
        """
        # One position for all slots: a constant, which says nothing.
        view = view._replace(positions=tf.zeros_like(view.positions))
        embedded = self.embedding(view, training=training)
        domains = item_domains(tf.maximum(view.tokens, PAD), self.offsets)
        moves = tf.one_hot(domains, self.num_domains, dtype=embedded.dtype)
        had = tf.minimum(tf.cumsum(moves, axis=1), 1.0)
        moves += tf.cast(view.tokens < PAD, embedded.dtype)[..., None]
        states = self.recurrent(tf.concat([embedded, moves, had], axis=-1), training=training)
        if last is not None:
            states, had = states[:, -last:], had[:, -last:]
        batch, slots = tf.shape(states)[0], tf.shape(states)[1]
        shape = [batch, slots, len(UNITS), self.num_domains, self.dim]
        encoded, _, transferred = tf.unstack(tf.reshape(states, shape), axis=2)
        return encoded, mean_of_others(transferred, had)

    def encode(self, view, last=None, training=None):
        """States of all domains and what the others hand over, which `specialise` reads."""
        both = tf.concat(self.states(view, last=last, training=training), axis=-1)
        batch, slots = tf.shape(both)[0], tf.shape(both)[1]
        return tf.reshape(both, [batch, slots, self.num_domains * 2 * self.dim])

    def specialise(self, encoded, domains, training=None):
        """The domain's own state and the others', through its matrix."""
        shape = [tf.shape(encoded)[0], tf.shape(encoded)[1], self.num_domains, 2 * self.dim]
        by_domain = tf.transpose(tf.reshape(encoded, shape), [0, 2, 1, 3])
        both = self.dropout(tf.gather(by_domain, domains, batch_dims=1), training=training)
        kernel = tf.gather(tf.convert_to_tensor(self.outputs_kernel), domains)
        bias = tf.gather(tf.convert_to_tensor(self.outputs_bias), domains)
        return tf.matmul(both, tf.cast(kernel, both.dtype)) + tf.cast(bias, both.dtype)
