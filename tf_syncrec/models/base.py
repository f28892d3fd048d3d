"""What every trained model has in common: items by domain, sampled losses, one training step."""

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.config import Config
from tf_syncrec.data.batches import Layout, Sequences
from tf_syncrec.distributed.workers import several_workers
from tf_syncrec.layers import DomainBlocks, ItemNeighbours, SharedEmbedding, Similarity
from tf_syncrec.losses.functions import EXCLUDED, LOSSES
from tf_syncrec.losses.negatives import sample_in_domain
from tf_syncrec.utils.variables import in_place, pieces

SKIPPED = "skipped_steps"
"""What the log calls steps that were not made, since their loss or gradient was no number."""

VOTING = 20
"""The latest interactions, whose neighbours have votes: with the decays that `neighbours` tries,
the ones before weigh next to nothing."""


class MultiDomainModel(keras.Model):
    """A model that recommends the next item in any domain.

    A subclass says what a batch costs (`batch_losses`) and what a user looks for
    (`query_vectors`); items, losses, training step and evaluation are the same for all, so that
    models differ in nothing else.

    Args:
        config: the run's configuration; `model` and `loss` are read here.
        domain_sizes: trained items of each domain; item ids are contiguous by domain from 1.
    """

    evaluation_signature: ClassVar[dict[str, tf.TensorSpec]] = {
        "items": tf.TensorSpec([None, None], tf.int32),
        "domain": tf.TensorSpec([None], tf.int32),
    }
    """What `call` reads of a batch of `data.evaluation_batches`."""

    batch_layout: ClassVar[Layout] = "packed"
    """How `data.train_batches` lays out what `batch_losses` reads."""

    def __init__(self, config: Config, domain_sizes, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.domain_sizes = tuple(int(size) for size in domain_sizes)
        self.num_domains = len(self.domain_sizes)
        self.num_items = sum(self.domain_sizes)
        # Python constants, not tensors: a tensor made here would belong to one graph.
        self._offsets = [1 + sum(self.domain_sizes[:d]) for d in range(self.num_domains)]
        self._loss_function = LOSSES[config.loss.name]
        self._seed = keras.random.SeedGenerator()
        model = config.model
        self.embedding = SharedEmbedding(
            self.num_items, self.num_domains, model.window, model.dim, model.dropout, model.style
        )
        self.similarity = Similarity(model.similarity, model.temperature)
        self.neighbours = None
        if model.neighbours:
            self.neighbours = ItemNeighbours(
                self.num_items, model.neighbours, min(VOTING, model.window)
            )

    @classmethod
    def from_data(cls, config: Config, prepared: Sequences) -> "MultiDomainModel":
        """A new model for a dataset."""
        return cls(config, prepared.catalogue.sizes)

    @property
    def reported(self) -> dict[str, str]:
        """Scalars that the log shows, and what `batch_losses` calls them."""
        return {"loss": "total"}

    def build_parts(self, *parts: keras.layers.Layer) -> None:
        """Creates all weights; shapes follow from the configuration alone."""
        for part in (self.embedding, self.similarity, self.neighbours, *parts):
            if part is not None:
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
        raise NotImplementedError

    def candidate_vectors(self, items):
        """What a query vector is compared with.

        Args:
            items: int32 ids of any shape.

        Returns:
            `[..., dim]` float32.
        """
        return self.similarity.candidate(tf.gather(self.embedding.items.value, items))

    def candidate_scales(self):
        """What each row of M is multiplied by in `candidate_vectors`, `[items + 1]` float32."""
        items = in_place(self.embedding.items)
        return tf.concat([self.similarity.scale(items[rows])[:, 0] for rows in pieces(items)], 0)

    @property
    def tables(self) -> list[keras.Variable]:
        """Weights of which a batch reads few rows, `[rows, dim]` each."""
        return [self.embedding.items]

    def count_trained(self) -> int:
        """Numbers that training learns; `count_params` has lists and λ as well."""
        return sum(int(np.prod(weight.shape)) for weight in self.trainable_weights)

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"items": [batch, length], "domain": [batch]}`."""
        return self.query_vectors(inputs["items"], inputs["domain"][:, None])[:, 0]

    # -------------------------------------------------------------------------------- training

    def batch_losses(self, items, segments=None, training=True) -> Any:
        """A NamedTuple with `total`, the scalar to minimise, and what else is known of a batch.

        Means are over the targets, or users, of the global batch: Keras adds up the gradients of
        replicas, so each of them brings its share.

        Args:
            items: `[batch, length]` int32 merged sequences, oldest first, padded with 0 on the
                left; every item is the target of the slot before it.
            segments: `[batch, length]` int32, which sequence each item belongs to, counted over
                the batch, -1 at padding, where rows hold several; None where a row is a sequence.
            training: whether dropout is on.
        """
        raise NotImplementedError

    def target_losses(self, representations, targets, blocks: DomainBlocks):
        """Loss of each target under each of several representations (Eq. 8-9).

        The same target meets the same negatives under all of them, so the losses can be compared.

        Args:
            representations: list of `[blocks, block_size, dim]`.
            targets: `[blocks, block_size]` int32.
            blocks: slots grouped by the domain of their target.

        Returns:
            A list of `[blocks, block_size]` float32; cells without a slot hold anything.
        """
        negatives, negative_vectors = self._negatives(blocks)
        positive_vectors = self.similarity.candidate(self.embedding.embed_items(targets))
        sizes = tf.cast(tf.gather(self.sizes, blocks.domains), tf.float32)
        rate = self.config.loss.negatives / tf.maximum(sizes - 1.0, 1.0)
        losses = []
        for y in representations:
            query = self.similarity.query(y)
            positive = tf.reduce_sum(query * positive_vectors, axis=-1)
            if self.config.loss.shared_negatives:
                negative = tf.matmul(query, negative_vectors, transpose_b=True)
            else:
                negative = tf.einsum("bsr,bsnr->bsn", query, negative_vectors)
            positive, negative = tf.cast(positive, tf.float32), tf.cast(negative, tf.float32)
            negative = tf.where(negatives == targets[..., None], EXCLUDED, negative)
            losses.append(self._loss_function(positive, negative, rate[:, None]))
        return losses

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

    def compile(self, optimizer, **kwargs):
        """Prepares training; the loss is the model's own."""
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        # On several replicas TensorFlow cannot make the variables of an optimizer in a step.
        self.optimizer.build(self.trainable_weights)
        self.trackers = {name: keras.metrics.Mean(name) for name in self.reported}
        if self.config.train.on_nan == "skip":
            self.trackers[SKIPPED] = keras.metrics.Sum(SKIPPED)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds nothing: all weights are there from the beginning.

        Under a distribution strategy Keras (3.15) builds on the mean of what the replicas have of
        the first batch, which fails where they have unequal numbers of rows. This can go when Keras
        leaves out that step for a model that is built.
        """

    @property
    def metrics(self):
        """What `fit` resets at the start of an epoch."""
        return list(getattr(self, "trackers", {}).values())

    def train_step(self, batch):
        """One step on a batch of `data.train_batches`."""
        with tf.GradientTape() as tape:
            losses = self.batch_losses(**batch)
            loss = self.optimizer.scale_loss(losses.total)
        weights = self.trainable_weights
        gradients = tape.gradient(loss, weights)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync

        def step():
            self.watch_gradients(gradients, weights)
            self.optimizer.apply(gradients, weights)
            self.after_step(losses)
            # A replica holds its share of the mean over the global batch.
            for name, quantity in self.reported.items():
                self.trackers[name].update_state(getattr(losses, quantity) * replicas)

        if SKIPPED in self.trackers:
            finite = all_finite([loss, *gradients])
            tf.cond(finite, step, lambda: None)
            self.trackers[SKIPPED].update_state(1.0 - tf.cast(finite, tf.float32))
        else:
            step()
        if several_workers(self.distribute_strategy):
            # The workers meet four times for each number here, so it is the one that has to be
            # looked at. `fit` takes the mean over the workers along the first axis, and fails
            # (Keras 3.15) where there is none; the axis can go when `reduce_per_replica` of Keras
            # takes scalars.
            return {"loss": self.trackers["loss"].result()[None]}
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def watch_gradients(self, gradients, weights) -> None:
        """What a step notes of its gradients, one for each of the weights or None."""

    def after_step(self, losses) -> None:
        """What else changes in a training step, besides the weights that have a gradient."""

    def epoch_scalars(self) -> dict[str, float]:
        """What the log of an epoch says: means over its steps. All workers have to ask."""
        return {name: float(tracker.result()) for name, tracker in self.trackers.items()}

    def domain_sums(self) -> np.ndarray | None:
        """What the steps of the epoch so far add up to, for `domain_means`; None for nothing."""
        return None

    def domain_means(self, sums: np.ndarray) -> dict[str, Any]:
        """`{quantity: [domains]}`, means over the steps between two `domain_sums`."""
        return {}

    @property
    def expert_names(self) -> list[str]:
        """Each of the experts that `gate_weights` tells of."""
        return []

    def gate_weights(self, items, domains) -> Any:
        """How much each expert counts, see `SyNCRec`; None for a model without such gates."""
        return None

    def epoch_domains(self) -> dict[str, Any]:
        """The same by domain: `{quantity: [domains]}`."""
        return {}


def all_finite(tensors):
    """Whether all numbers of tensors, of slices of them, or of nothing (None) are finite."""
    values = [getattr(tensor, "values", tensor) for tensor in tensors if tensor is not None]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])
