"""How Keras trains and ranks a network: `compile`, the steps of `fit` and `evaluate`, logs."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.distributed.workers import several_workers
from tf_syncrec.layers.embedding import SharedEmbedding
from tf_syncrec.layers.views import check_histories
from tf_syncrec.losses import functions as losses_by_name
from tf_syncrec.metrics.gains import METRICS
from tf_syncrec.metrics.ranking_metrics import RankingMetrics

SKIPPED = "skipped_steps"
"""What the log calls steps that were not made, since their loss or gradient was no number."""

_COMPILED = ("optimizer", "metrics", "skip_nan", "run_eagerly", "steps_per_execution")
"""What is kept of `compile` in a saved model; the loss is kept as the constructor's."""


class Trainer(keras.Model):
    """What `MultiDomainModel` does when Keras calls it.

    A network says what a batch costs (`batch_losses`) and where targets stand (`target_ranks`).
    """

    domains: tuple[str, ...]
    target_loss: Callable

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._evaluating = False

    @property
    def embeddings(self) -> Sequence[SharedEmbedding]:
        """What has vectors of items; of several networks whose scores are added, that of each."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its items are")

    @property
    def reported(self) -> dict[str, str]:
        """Scalars that the log shows, and what `batch_losses` calls them."""
        return {"loss": "total"}

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Any:
        """A NamedTuple with `total`, the scalar to minimise, and what else is known of a batch.

        Means are over the targets, or users, of the global batch: Keras adds up the gradients of
        replicas, so each of them brings its share.

        Args:
            items: `[batch, length]` int32 merged sequences, oldest first, padded with 0 on the
                left; every item is the target of the slot before it.
            segments: `[batch, length]` int32, which sequence each item belongs to, counted over
                the batch, -1 at padding, where rows hold several; None where a row is a sequence.
            training: whether dropout is on.
            timestamps: `[batch, length]` float64, when items were, in the unit of the log; of a
                network that is told of times.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a batch costs")

    def target_ranks(self, batch):
        """Where each target of a batch stands: `[batch]` float64, see `metrics.target_ranks`."""
        raise NotImplementedError(f"{type(self).__name__} does not say where a target stands")

    def compile(
        self,
        optimizer="adam",
        loss: str | Callable | None = None,
        metrics: Sequence[str] | None = None,
        skip_nan: bool = False,
        jit_compile: bool | str = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ):
        """Prepares training.

        Args:
            optimizer: as in Keras; `training.optimizers.RowwiseAdam` is what `fit` of a run takes.
            loss: of a target, in place of the constructor's.
            metrics: `hr@k`, `ndcg@k` or `mrr`, of `evaluate` and of validation; None: `METRICS`.
            skip_nan: whether a step whose loss or gradient is no number is left out and counted.
            jit_compile: XLA cannot compile shapes that follow from the data, so True is refused.
            run_eagerly: as in `keras.Model.compile`.
            steps_per_execution: likewise.
        """
        if jit_compile is True:
            raise ValueError(
                f"jit_compile: {type(self).__name__} has shapes that follow from the data, which "
                "XLA cannot compile. Received: jit_compile=True"
            )
        super().compile(
            optimizer=optimizer,
            jit_compile=False,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        if loss is not None:
            self.target_loss = losses_by_name.get(loss)
        self._compiled_with = {"metrics": metrics and list(metrics), "skip_nan": skip_nan}
        # On several replicas TensorFlow cannot make the variables of an optimizer in a step.
        self.optimizer.build(self.trainable_weights)
        self.ranking_metrics = RankingMetrics(self.domains, metrics or METRICS)
        self.trackers = {name: keras.metrics.Mean(name) for name in self.reported}
        if skip_nan:
            self.trackers[SKIPPED] = keras.metrics.Sum(SKIPPED)

    def get_compile_config(self):
        """What `compile_from_config` takes."""
        if not self.compiled:
            return {}
        return super().get_compile_config() | dict(self._compiled_with)

    def compile_from_config(self, config):
        """Compiles as before saving."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{name: config[name] for name in _COMPILED if name in config})

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds nothing: all weights are there from the beginning.

        Under a distribution strategy Keras (3.15) builds on the mean of what the replicas have of
        the first batch, which fails where they have unequal numbers of rows. This can go when Keras
        leaves out that step for a model that is built.
        """

    @property
    def metrics(self):
        """What Keras resets: at the beginning of an epoch, and of an evaluation.

        A validation in the middle of `fit` leaves those of the training as they are.
        """
        if not self.compiled:
            return []
        return [self.ranking_metrics] if self._evaluating else list(self.trackers.values())

    def fit(self, *args, **kwargs):
        """As in Keras, on dictionaries of `data.batches`, which come in an order of their own."""
        return super().fit(*args, **{"shuffle": False} | kwargs)

    def evaluate(self, *args, **kwargs):
        """Ranks every target against all items of its domain, see `metrics.target_ranks`.

        Args:
            args: as in `keras.Model.evaluate`; batches as of `data.batches.evaluation_batches`.
            kwargs: likewise.
        """
        self._evaluating = True
        try:
            with warnings.catch_warnings():
                # Batches of a domain each cannot be counted beforehand; their end is the end.
                warnings.filterwarnings("ignore", "Your input ran out of data")
                return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def train_step(self, batch):
        """One step on a batch of `data.batches.train_batches`."""
        batch = inputs_of(batch)
        if "target" in batch:
            raise ValueError(f"`fit` takes batches to train on. Received: {', '.join(batch)}")
        if "segments" not in batch:  # not laid out by `data.batches.train_batches`
            batch = batch | {"items": check_histories(batch["items"], self.num_items)}
        with tf.GradientTape() as tape, contextlib.ExitStack() as read:
            for embedding in self.embeddings:
                read.enter_context(embedding.read(batch["items"]))
            losses = self.batch_losses(**batch)
            loss = self.optimizer.scale_loss(losses.total)
        weights = self.trainable_weights
        gradients = tape.gradient(loss, weights)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync

        def step():
            self.watch_gradients(gradients, weights)
            self.optimizer.apply(self._for_optimizer(gradients), weights)
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

    def _for_optimizer(self, gradients):
        """Slices of tables are for optimizers that know them: Keras's Adam squares each slice."""
        if getattr(self.optimizer, "takes_slices", False):
            return gradients
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    def test_step(self, batch):
        """Ranks the targets of a batch of `data.batches.evaluation_batches`."""
        batch = inputs_of(batch)
        if "target" not in batch:
            raise ValueError(f"`evaluate` takes batches with targets. Received: {', '.join(batch)}")
        self.ranking_metrics.update_state(self.target_ranks(batch), batch["domain"])
        return self.ranking_metrics.result()

    # ------------------------------------------------------------------------ what a log is told

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


def inputs_of(batch) -> dict[str, Any]:
    """What Keras hands on to a step, which is a tuple in `train_on_batch`.

    Raises:
        ValueError: there are targets or sample weights beside it.
    """
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
    if targets is not None or weights is not None:
        raise ValueError(
            "A network takes dictionaries of `data.batches`, without targets or sample weights "
            "beside them."
        )
    return inputs


def all_finite(tensors):
    """Whether all numbers of tensors, of slices of them, or of nothing (None) are finite."""
    values = [getattr(tensor, "values", tensor) for tensor in tensors if tensor is not None]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])
