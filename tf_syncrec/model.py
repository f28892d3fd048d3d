"""SyNCRec: single- and cross-domain sequential recommendation in one network (paper 4)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.config import Config
from tf_syncrec.layers import (
    ACMoE,
    RelativeNegativeTransfer,
    SharedEmbedding,
    Similarity,
    SingleCrossMutualInformation,
    group_by_domain,
    split_views,
)
from tf_syncrec.layers.mutual_information import pool_by_domain
from tf_syncrec.losses import EXCLUDED, LOSSES
from tf_syncrec.negatives import sample_in_domain


class Losses(NamedTuple):
    """What one batch costs, and what it says about the domains.

    Attributes:
        total: the loss L of Eq. 18, scalar.
        single: L_single, mean over targets or over users (`loss.reduction`), scalar.
        cross: uncorrected L_cross, likewise, scalar.
        mutual_information: SC-MIM loss, mean over users and their domains or over users, scalar.
        domain_single: sum of the single-view losses of each domain's targets, `[domains]`.
        domain_cross: the same of the cross view, `[domains]`.
        domain_targets: number of targets of each domain, `[domains]`.
        relative: λ after this batch, `[domains]`.
        gap: φ, `[domains]`.
        present: whether any replica has a target of the domain, `[domains]` bool.
    """

    total: tf.Tensor
    single: tf.Tensor
    cross: tf.Tensor
    mutual_information: tf.Tensor
    domain_single: tf.Tensor
    domain_cross: tf.Tensor
    domain_targets: tf.Tensor
    relative: tf.Tensor
    gap: tf.Tensor
    present: tf.Tensor


class SyNCRec(keras.Model):
    """The whole model: two views, ACMoE, LC-NTG and SC-MIM.

    Args:
        config: the run's configuration; `model`, `loss` and `negative_transfer` are read.
        domain_sizes: trained items of each domain; item ids are contiguous by domain from 1.

    Reference: Pacer and Runner (SIGIR 2024), section 4.
    """

    def __init__(self, config: Config, domain_sizes, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.domain_sizes = tuple(int(size) for size in domain_sizes)
        self.num_domains = len(self.domain_sizes)
        self.num_items = sum(self.domain_sizes)
        # Python constants, not tensors: a tensor made here would belong to one graph.
        self._offsets = [1 + sum(self.domain_sizes[:d]) for d in range(self.num_domains)]
        self._loss_function = LOSSES[config.loss.name]

        model = config.model
        self.embedding = SharedEmbedding(
            self.num_items, self.num_domains, model.window, model.dim, model.dropout
        )
        self.acmoe = ACMoE(
            model.experts,
            model.cross_experts,
            self.num_domains,
            model.window,
            model.dim,
            num_blocks=model.blocks,
            num_heads=model.heads,
            ff_dim=model.ff_dim,
            dropout=model.dropout,
            style=model.style,
            gate=model.gate,
            asymmetric=model.asymmetric,
        )
        self.similarity = Similarity(model.similarity, model.temperature)
        transfer = config.negative_transfer
        self.negative_transfer = RelativeNegativeTransfer(
            self.num_domains,
            transfer.alpha,
            transfer.beta,
            transfer.delta,
            transfer.trainable_rates and transfer.enabled,
        )
        self._seed = keras.random.SeedGenerator()
        parts: list[keras.layers.Layer] = [
            self.embedding,
            self.acmoe,
            self.similarity,
            self.negative_transfer,
        ]
        if config.loss.mutual_information:
            self.mutual_information = SingleCrossMutualInformation(
                model.dim, config.loss.rho, config.loss.contrast
            )
            parts.append(self.mutual_information)
        for part in parts:
            part.build(None)
        self.built = True

    @property
    def offsets(self):
        """First item id of each domain, `[domains]` int32."""
        return tf.constant(self._offsets, tf.int32)

    @property
    def sizes(self):
        """Trained items of each domain, `[domains]` int32."""
        return tf.constant(self.domain_sizes, tf.int32)

    # ------------------------------------------------------------------------------ prediction

    def query_vectors(self, items, domains):
        """What the model looks for next; its dot product with a candidate vector is the score.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
            domains: `[batch, queries]` int32, the domains to predict in, distinct within a row.

        Returns:
            `[batch, queries, dim]` float32.
        """
        cross_view, single_view = split_views(
            items, domains, self.offsets, self.config.model.window
        )
        score = self.config.model.score
        query = tf.zeros([], self.compute_dtype)
        if score != "single":
            y_cross = self.acmoe.cross(self.embedding(cross_view), cross_view)[:, -1:]
            query += self.similarity.query(y_cross)
        if score != "cross":
            slots, queries = tf.shape(single_view.domains)[1], tf.shape(domains)[1]
            asked = tf.range(slots) >= slots - queries
            blocks = group_by_domain(tf.where(asked, single_view.domains, -1), self.num_domains)
            y_single = self.acmoe.single(self.embedding(single_view), single_view, blocks)
            y_single = blocks.scatter(y_single, tf.shape(single_view.domains))[:, -queries:]
            query += self.similarity.query(y_single)
        shape = [tf.shape(items)[0], tf.shape(domains)[1], self.config.model.dim]
        return tf.cast(tf.broadcast_to(query, shape), tf.float32)

    def candidate_vectors(self):
        """`[items + 1, dim]` float32: row i is the candidate vector of item i; row 0 pads."""
        return tf.cast(self.similarity.candidate(self.embedding.items.value), tf.float32)

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"items": [batch, length], "domain": [batch]}`."""
        return self.query_vectors(inputs["items"], inputs["domain"][:, None])[:, 0]

    # -------------------------------------------------------------------------------- training

    def batch_losses(self, items, training=True) -> Losses:
        """All losses of a batch (Eq. 8-18).

        Means are over the targets, or users, of the global batch: Keras adds up the gradients of
        replicas, so each of them brings its share.

        Args:
            items: `[batch, length]` int32 merged sequences, oldest first, padded with 0 on the
                left; every item is the target of the slot before it.
            training: whether dropout is on.
        """
        config = self.config
        cross_view, single_view = split_views(items, None, self.offsets, config.model.window)
        blocks = group_by_domain(single_view.domains, self.num_domains)
        y_cross = self.acmoe.cross(
            self.embedding(cross_view, training=training), cross_view, training=training
        )
        y_single = self.acmoe.single(
            self.embedding(single_view, training=training), single_view, blocks, training=training
        )

        # The same target against the same negatives in both views: the losses can be compared.
        targets = blocks.gather(items[:, -tf.shape(single_view.domains)[1] :])
        negatives, negative_vectors = self._negatives(blocks)
        positive_vectors = self.similarity.candidate(self.embedding.embed_items(targets))
        target_losses = [
            self._target_losses(y, targets, positive_vectors, negatives, negative_vectors, blocks)
            for y in (y_single, blocks.gather(y_cross))
        ]
        domain_single, domain_cross = (
            blocks.sum_by_domain(loss, self.num_domains) for loss in target_losses
        )
        domain_targets = blocks.sum_by_domain(tf.ones_like(target_losses[0]), self.num_domains)

        gap, present, relative = self._negative_transfer(
            domain_single, domain_cross, domain_targets
        )
        weights = tf.ones_like(relative)
        if config.negative_transfer.enabled:
            # |D| λ is 1 for every domain while none suffers more than another.
            scale = self.num_domains if config.negative_transfer.scaled else 1
            weights = scale * relative
        if config.loss.reduction == "sum":
            users = tf.reduce_any(single_view.domains >= 0, axis=1)
            count = _over_replicas(tf.reduce_sum(tf.cast(users, tf.float32)))
        else:
            count = _over_replicas(tf.reduce_sum(domain_targets))
        single = tf.math.divide_no_nan(tf.reduce_sum(domain_single), count)
        cross = tf.math.divide_no_nan(tf.reduce_sum(domain_cross), count)
        corrected = tf.math.divide_no_nan(tf.reduce_sum(weights * domain_cross), count)
        mim = tf.zeros([])
        if config.loss.mutual_information:
            losses, terms = self._mutual_information(y_single, y_cross, single_view.domains, blocks)
            if config.loss.reduction == "mean":
                count = _over_replicas(tf.reduce_sum(terms))
            mim = tf.math.divide_no_nan(tf.reduce_sum(losses), count)
        total = config.loss.eta * (single + corrected) + (1.0 - config.loss.eta) * mim
        return Losses(
            total,
            single,
            cross,
            mim,
            domain_single,
            domain_cross,
            domain_targets,
            relative,
            gap,
            present,
        )

    def _negatives(self, blocks):
        """Ids and vectors of sampled items: one set a domain, or one set a target."""
        config = self.config.loss
        if config.shared_negatives:
            domains = tf.range(self.num_domains)
        else:
            domains = tf.broadcast_to(blocks.domains[:, None], tf.shape(blocks.slots))
        ids = sample_in_domain(domains, config.negatives, self.offsets, self.sizes, self._seed)
        vectors = self.similarity.candidate(self.embedding.embed_items(ids))
        if config.shared_negatives:
            # (blocks, negatives): the same for all slots of a block
            return tf.gather(ids, blocks.domains)[:, None], tf.gather(vectors, blocks.domains)
        return ids, vectors  # (blocks, block_size, negatives)

    def _target_losses(self, y, targets, positive_vectors, negatives, negative_vectors, blocks):
        """Loss of each target, `[blocks, block_size]` float32."""
        query = self.similarity.query(y)
        positive = tf.reduce_sum(query * positive_vectors, axis=-1)
        if self.config.loss.shared_negatives:
            negative = tf.matmul(query, negative_vectors, transpose_b=True)
        else:
            negative = tf.einsum("bsr,bsnr->bsn", query, negative_vectors)
        positive, negative = tf.cast(positive, tf.float32), tf.cast(negative, tf.float32)
        negative = tf.where(negatives == targets[..., None], EXCLUDED, negative)
        sizes = tf.cast(tf.gather(self.sizes, blocks.domains), tf.float32)
        rate = self.config.loss.negatives / tf.maximum(sizes - 1.0, 1.0)
        return self._loss_function(positive, negative, rate[:, None])

    def _negative_transfer(self, domain_single, domain_cross, domain_targets):
        """φ (Eq. 10) and λ (Eq. 11) of the global batch, on every replica the same."""
        measured = _over_replicas(tf.stack([domain_single - domain_cross, domain_targets]))
        gap, targets = tf.unstack(tf.stop_gradient(measured))
        if self.config.negative_transfer.gap == "mean":
            gap = tf.math.divide_no_nan(gap, targets)
        present = targets > 0
        return gap, present, self.negative_transfer(gap, present)

    def _mutual_information(self, y_single, y_cross, domains, blocks):
        """Sum and number of SC-MIM terms (Eq. 16), each `[domains]`."""
        y_single = blocks.scatter(y_single, tf.shape(domains))
        single = pool_by_domain(y_single, domains, self.num_domains)
        cross = pool_by_domain(y_cross, domains, self.num_domains)
        present = tf.reduce_any(
            domains[:, :, None] == tf.range(self.num_domains)[None, None, :], axis=1
        )
        return self.mutual_information(single, cross, present)

    def compile(self, optimizer, **kwargs):
        """Prepares training; the loss is the model's own."""
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        self.trackers = {
            name: keras.metrics.Mean(name)
            for name in ("loss", "loss_single", "loss_cross", "loss_mim")
        }
        self.domain_tracker = DomainTracker(self.num_domains)

    @property
    def metrics(self):
        """What `fit` resets at the start of an epoch."""
        trackers = getattr(self, "trackers", None)
        return [*trackers.values(), self.domain_tracker] if trackers else []

    def train_step(self, batch):
        """One step on `{"items": [batch, length]}`; λ is updated once."""
        with tf.GradientTape() as tape:
            losses = self.batch_losses(batch["items"])
            loss = self.optimizer.scale_loss(losses.total)
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.negative_transfer.update(losses.relative, losses.gap, losses.present)

        self.domain_tracker.update_state(
            losses.domain_single, losses.domain_cross, losses.domain_targets, losses.relative
        )
        values = {
            "loss": losses.total,
            "loss_single": losses.single,
            "loss_cross": losses.cross,
            "loss_mim": losses.mutual_information,
        }
        # A replica holds its share of the mean over the global batch.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for name, value in values.items():
            self.trackers[name].update_state(value * replicas)
        return {name: tracker.result() for name, tracker in self.trackers.items()}


class DomainTracker(keras.metrics.Metric):
    """Means over an epoch: loss of each domain's targets in either view, and λ over steps.

    λ of a single step follows the noise of one batch, so the mean is what is reported.
    """

    def __init__(self, num_domains, name="domains", **kwargs):
        super().__init__(name=name, **kwargs)
        self.sums = self.add_variable((5, num_domains), initializer="zeros", name="sums")

    def update_state(self, single, cross, targets, relative):
        """Adds a batch: sums over targets and λ, each `[domains]`."""
        self.sums.assign_add(tf.stack([single, cross, targets, relative, tf.ones_like(relative)]))

    def result(self):
        """`[3, domains]`: mean single loss, mean cross loss, mean λ; 0 for a domain never seen."""
        single, cross, targets, relative, steps = tf.unstack(tf.convert_to_tensor(self.sums))
        return tf.math.divide_no_nan(
            tf.stack([single, cross, relative]), tf.stack([targets, targets, steps])
        )


def _over_replicas(x):
    """Sum over the replicas of a distribution strategy; `x` itself where there is one."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return x
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, x)


def build_model(config: Config, catalogue: Catalogue) -> SyNCRec:
    """The model for the items and domains of a prepared dataset."""
    return SyNCRec(config, catalogue.sizes)
