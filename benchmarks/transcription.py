"""SyNCRec as the paper's equations read: a pass for each domain and a loop over experts.

What `train_step.py` compares our training step with. The same losses and gradients as those of
`tf_syncrec.models.syncrec.SyNCRec` (`tests/models/test_transcription.py`), from Keras's own layers,
as one would write them down: |D| + 1 passes over left-padded sequences of T slots, K experts one by
one in each of them, and Adam over the whole item table.
"""

from types import SimpleNamespace

import keras
import tensorflow as tf

from tf_syncrec.layers import RelativeNegativeTransfer, Similarity, item_domains
from tf_syncrec.layers.experts import EPSILON
from tf_syncrec.losses.functions import EXCLUDED, LOSSES
from tf_syncrec.losses.negatives import sample_in_domain


class Block(keras.layers.Layer):
    """One pre-normalised Transformer block with one head (Eq. 5-7)."""

    def __init__(self, dim, ff_dim, dropout):
        super().__init__()
        self.attention_norm = keras.layers.LayerNormalization(epsilon=EPSILON)
        self.query, self.key, self.value, self.out = (
            keras.layers.Dense(dim, use_bias=False) for _ in range(4)
        )
        self.ffn_norm = keras.layers.LayerNormalization(epsilon=EPSILON)
        self.inner = keras.layers.Dense(ff_dim, activation="gelu")
        self.outer = keras.layers.Dense(dim)
        self.dropout = keras.layers.Dropout(dropout)
        self.dim = dim

    def call(self, x, mask, training=None):
        h = self.attention_norm(x)
        logits = tf.matmul(self.query(h), self.key(h), transpose_b=True) * self.dim**-0.5
        weights = tf.nn.softmax(tf.where(mask, logits, logits.dtype.min))
        h = self.out(tf.matmul(self.dropout(weights, training=training), self.value(h)))
        x += self.dropout(h, training=training)
        h = self.outer(self.inner(self.ffn_norm(x)))
        return x + self.dropout(h, training=training)


class Expert(keras.layers.Layer):
    """f_TRM^k."""

    def __init__(self, options):
        super().__init__()
        sizes = options.dim, options.ff_dim or options.dim, options.dropout
        self.blocks = [Block(*sizes) for _ in range(options.blocks)]
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON)

    def call(self, x, mask, training=None):
        for block in self.blocks:
            x = block(x, mask, training=training)
        return self.norm(x)


class Tower(keras.layers.Layer):
    """h^d or h^cross."""

    def __init__(self, dim, dropout):
        super().__init__()
        self.inner = keras.layers.Dense(dim, activation="gelu")
        self.outer = keras.layers.Dense(dim)
        self.dropout = keras.layers.Dropout(dropout)
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON)

    def call(self, x, training=None):
        return self.norm(x + self.dropout(self.outer(self.inner(x)), training=training))


class Transcription(keras.Model):
    """The whole model, for training; of the same arguments as a `SyNCRec`."""

    def __init__(self, model):
        super().__init__()
        self.options = options = SimpleNamespace(**model.get_config())
        options.negatives = model.negatives
        domain_sizes = model.domain_sizes
        self.window, self.dim = options.window, options.dim
        self.sizes = [int(size) for size in domain_sizes]
        self.domains = range(len(self.sizes))
        self.offsets = [1 + sum(self.sizes[:d]) for d in self.domains]
        normal = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        self.items = self.add_weight((1 + sum(self.sizes), self.dim), normal)
        self.start_tokens = self.add_weight((1 + len(self.sizes), self.dim), normal)
        self.positions = self.add_weight((self.window, self.dim), normal)
        self.embedding_dropout = keras.layers.Dropout(options.dropout)
        self.experts = [Expert(options) for _ in range(options.experts)]
        # Index 0 is the cross-domain task, 1 + d that of domain d.
        self.gates = [keras.layers.Dense(options.experts) for _ in [0, *self.domains]]
        self.towers = [Tower(self.dim, options.dropout) for _ in [0, *self.domains]]
        self.w_h = self.add_weight((self.dim, self.dim), "glorot_uniform")
        self.similarity = Similarity(options.similarity, options.temperature)
        self.transfer = RelativeNegativeTransfer(len(self.sizes))
        self.transfer.build(None)
        self.seed = keras.random.SeedGenerator()

    def one_pass(self, inputs, used, task, training):
        """Eq. 2 or 4: `inputs` [batch, T] left-padded ids, 0 for (SOS), where `used` is True."""
        rows = tf.gather(self.items.value, inputs)
        rows = tf.where((inputs == 0)[..., None], self.start_tokens[task], rows)
        rows += self.positions
        mean, variance = tf.nn.moments(rows, -1, keepdims=True)
        embedded = self.embedding_dropout(
            (rows - mean) * tf.math.rsqrt(variance + EPSILON), training=training
        )
        embedded *= tf.cast(used, tf.float32)[..., None]

        causal = tf.linalg.band_part(tf.ones([self.window, self.window], tf.bool), -1, 0)
        mask = (causal & used[:, None, :]) | tf.eye(self.window, dtype=tf.bool)
        seen = tf.cast(mask, tf.float32)
        prefix = tf.matmul(seen, embedded) / tf.reduce_sum(seen, -1, keepdims=True)
        gates = tf.nn.softmax(self.gates[task](prefix))
        mixed = tf.zeros_like(embedded)
        for k, expert in enumerate(self.experts):
            output = expert(embedded, mask, training=training)
            if (k < self.options.cross_experts) != (task == 0):
                output = tf.stop_gradient(output)  # SG, 4.2.1
            mixed += gates[..., k : k + 1] * output
        return self.towers[task](mixed, training=training)

    def batch_loss(self, items, negatives=None, training=True):
        """Eq. 18 and λ of a batch.

        Args:
            items: `[batch, T + 1]` int32, oldest first, padded with 0 on the left.
            negatives: `[domains, n]` ids; drawn when not given.
            training: whether dropout is on.

        Returns:
            `(total, relative, gap, present)`.
        """
        options = self.options
        if negatives is None:
            negatives = sample_in_domain(
                tf.range(len(self.sizes)),
                options.negatives.count,
                tf.constant(self.offsets),
                tf.constant(self.sizes),
                self.seed,
            )
        of = item_domains(items, tf.constant(self.offsets))  # -1 at padding
        targets = items[:, 1:]
        y_cross = self.one_pass(items[:, :-1], targets > 0, 0, training)

        single: list[tf.Tensor] = []
        cross: list[tf.Tensor] = []
        counts, mim, users = [], [], []
        for d in self.domains:
            # The domain's items moved to the right end; targets are those of the last T columns.
            mine = of == d
            order = tf.argsort(tf.cast(mine, tf.int32), axis=1, stable=True)
            own = tf.gather(tf.where(mine, items, 0), order, batch_dims=1)
            number = tf.reduce_sum(tf.cast(mine[:, 1:], tf.int32), axis=1, keepdims=True)
            used = tf.range(self.window) >= self.window - number
            y_single = self.one_pass(tf.where(used, own[:, :-1], 0), used, 1 + d, training)
            # The cross representation of the same targets.
            slots = tf.argsort(tf.cast(mine[:, 1:], tf.int32), axis=1, stable=True)
            y_same = tf.gather(y_cross, slots, batch_dims=1)

            here = tf.cast(used, tf.float32)
            target_losses = [
                self.target_loss(y, own[:, 1:], negatives[d], d) for y in (y_single, y_same)
            ]
            for sums, loss in zip((single, cross), target_losses, strict=True):
                sums.append(tf.reduce_sum(tf.where(used, loss, 0.0)))
            counts.append(tf.reduce_sum(here))
            if options.mutual_information:
                loss, number_of_users = self.mutual_information(y_single, y_same, here)
                mim.append(loss)
                users.append(number_of_users)

        l_single, l_cross, targets_of = (tf.stack(sums) for sums in (single, cross, counts))
        present = targets_of > 0
        gap = tf.math.divide_no_nan(l_single - l_cross, targets_of)  # Eq. 10
        relative = self.transfer(tf.stop_gradient(gap), present)  # Eq. 11
        total = tf.reduce_sum(l_single + len(self.sizes) * relative * l_cross)
        total /= tf.reduce_sum(targets_of)
        total *= options.eta
        if options.mutual_information:
            total += (1 - options.eta) * tf.add_n(mim) / tf.add_n(users)
        return total, relative, gap, present

    def target_loss(self, y, targets, negatives, d):
        """Eq. 8-9, with the loss of the configuration."""
        query = self.similarity.query(y)
        positive = self.similarity.candidate(tf.gather(self.items.value, targets))
        drawn = self.similarity.candidate(tf.gather(self.items.value, negatives))
        scores = tf.matmul(
            query, tf.broadcast_to(drawn, [tf.shape(y)[0], *drawn.shape]), transpose_b=True
        )
        no_negative = (negatives == targets[..., None]) | (negatives == 0)
        scores = tf.where(no_negative, EXCLUDED, scores)
        rate = min(self.options.negatives.count / max(self.sizes[d] - 1.0, 1.0), 1.0)
        loss = LOSSES[self.options.loss]
        return loss(tf.reduce_sum(query * positive, -1), scores, rate)

    def mutual_information(self, y_single, y_cross, here):
        """Eq. 14-17: the sum over the users that have the domain, and their number."""
        weights = tf.math.divide_no_nan(here, tf.reduce_sum(here, 1, keepdims=True))[..., None]
        u, v = (tf.reduce_sum(weights * y, axis=1) for y in (y_single, y_cross))
        present = tf.reduce_any(here > 0, axis=1)
        rho = tf.sigmoid(tf.matmul(v, tf.matmul(u, self.w_h), transpose_b=True))
        everybody = tf.reduce_logsumexp(tf.where(present[None], rho, rho.dtype.min), axis=1)
        loss = tf.where(present, everybody - tf.linalg.diag_part(rho), 0.0)
        return tf.reduce_sum(loss), tf.reduce_sum(tf.cast(present, tf.float32))

    def train_step(self, batch):
        """One step; every gradient dense, as Keras's Adam treats it in the end."""
        with tf.GradientTape() as tape:
            total, relative, gap, present = self.batch_loss(batch["items"])
        weights = self.trainable_weights
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(total, weights)]
        self.optimizer.apply(gradients, weights)
        self.transfer.update(relative, gap, present)
        return {"loss": total}
