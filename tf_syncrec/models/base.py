"""What every network has in common: items by domain, sampled losses, a training and a test step."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.config import Config
from tf_syncrec.data.batches import Layout, Sequences
from tf_syncrec.distributed.workers import several_workers
from tf_syncrec.layers import DomainBlocks, ItemNeighbours, SharedEmbedding, Similarity
from tf_syncrec.layers.item_neighbours import add_votes
from tf_syncrec.layers.views import check_histories, check_queries
from tf_syncrec.losses import functions as losses_by_name
from tf_syncrec.losses.functions import EXCLUDED
from tf_syncrec.losses.negatives import UniformNegatives
from tf_syncrec.metrics.gains import CUT_OFFS, METRICS
from tf_syncrec.metrics.ranking_metrics import RankingMetrics
from tf_syncrec.metrics.target_ranks import rows_at_once, target_ranks
from tf_syncrec.utils.variables import in_place, pieces

SKIPPED = "skipped_steps"
"""What the log calls steps that were not made, since their loss or gradient was no number."""

VOTING = 20
"""The latest interactions, whose neighbours have votes: with the decays that `neighbours` tries,
the ones before weigh next to nothing."""

_COMPILED = ("optimizer", "metrics", "skip_nan", "run_eagerly", "steps_per_execution")
"""What is kept of `compile` in a saved model; the loss is kept as the constructor's."""

_RENAMED = {"loss": ("loss", "name"), "negative_transfer": ("negative_transfer", "enabled")}
"""Arguments of networks that the configuration calls otherwise: section and setting."""


class MultiDomainModel(keras.Model):
    """A network that recommends the next item in any domain.

    A subclass says what a batch costs (`batch_losses`) and what a user looks for
    (`query_vectors`); items, losses, training step and ranking are the same for all, so that
    networks differ in nothing else. It is an ordinary Keras model: `compile`, `fit` on
    `data.batches.datasets`, `evaluate` on `evaluation_batches`, `save("model.keras")`.

    Args:
        domain_sizes: trained items of each domain, `{name: size}`, or a sequence of sizes; item ids
            are contiguous by domain from 1.
        window: T, how many items of a history are looked at.
        dim: r, the width.
        dropout: rate, wherever the network drops.
        style: of Transformer blocks, `"pre_norm"` or `"paper"`.
        similarity: `"cosine"` or `"dot"`.
        temperature: divides the score.
        neighbours: co-occurring items of each item that vote in a prediction; 0: none.
        loss: name of a loss of `losses.functions`, or a function of the same kind.
        negatives: how many items of its domain a target is compared with, or what draws them.
        shared_negatives: of a number of negatives, whether all targets of a domain and batch have
            the same ones.
        kwargs: of `keras.Model`: `name`, `dtype`.
    """

    evaluation_signature: ClassVar[dict[str, tf.TensorSpec]] = {
        "items": tf.TensorSpec([None, None], tf.int32),
        "domain": tf.TensorSpec([None], tf.int32),
    }
    """What `call` reads of a batch of `data.batches.evaluation_batches`."""

    batch_layout: ClassVar[Layout] = "packed"
    """How `data.batches.train_batches` lays out what `batch_losses` reads."""

    def __init__(
        self,
        domain_sizes: Mapping[str, int] | Sequence[int],
        *,
        window: int = 50,
        dim: int = 64,
        dropout: float = 0.2,
        style: str = "pre_norm",
        similarity: str = "cosine",
        temperature: float = 0.1,
        neighbours: int = 0,
        loss: str | Callable = "sampled_softmax",
        negatives: int | UniformNegatives = 256,
        shared_negatives: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.domains, self.domain_sizes = _domains(domain_sizes)
        for name, value, least in (
            ("window", window, 2),
            ("dim", dim, 1),
            ("neighbours", neighbours, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be {least} or more. Received: {value}")
        self.window, self.dim, self.dropout_rate, self.style = window, dim, dropout, style
        if isinstance(negatives, int):
            negatives = UniformNegatives(negatives, shared_negatives)
        self.negatives = UniformNegatives.get(negatives)
        self.target_loss = losses_by_name.get(loss)
        # Python constants, not tensors: a tensor made here would belong to one graph.
        self._offsets = [1 + sum(self.domain_sizes[:d]) for d in range(self.num_domains)]
        self._seed = keras.random.SeedGenerator()
        self.embedding = SharedEmbedding(
            self.num_items, self.num_domains, window, dim, dropout, style, dtype=self.dtype_policy
        )
        self.similarity = Similarity(similarity, temperature, dtype=self.dtype_policy)
        self.neighbours = None
        if neighbours:
            self.neighbours = ItemNeighbours(self.num_items, neighbours, min(VOTING, window))
        self._evaluating = False

    @classmethod
    def from_settings(cls, config: Config, domain_sizes, **more) -> Self:
        """A network with the settings of a configuration that its constructor takes."""
        given = {
            **config.model.model_dump(),
            **config.loss.model_dump(),
            **config.negative_transfer.model_dump(),
            **{key: getattr(getattr(config, s), name) for key, (s, name) in _RENAMED.items()},
            "seed": config.train.seed,
            "dtype": config.train.precision,
        }
        taken = {"dtype"} | {
            name
            for kind in cls.__mro__
            if issubclass(kind, MultiDomainModel)
            for name, parameter in inspect.signature(kind.__init__).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        arguments = {name: value for name, value in given.items() if name in taken}
        return cls(domain_sizes, **arguments | more)

    @classmethod
    def from_data(cls, config: Config, prepared: Sequences) -> Self:
        """A new network for a dataset."""
        catalogue = prepared.catalogue
        return cls.from_settings(config, dict(zip(catalogue.domains, catalogue.sizes, strict=True)))

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "domain_sizes": dict(zip(self.domains, self.domain_sizes, strict=True)),
            "window": self.window,
            "dim": self.dim,
            "dropout": self.dropout_rate,
            "style": self.style,
            "similarity": self.similarity.kind,
            "temperature": self.similarity.temperature,
            "neighbours": self.neighbours.count if self.neighbours else 0,
            "loss": losses_by_name.serialize(self.target_loss),
            "negatives": keras.saving.serialize_keras_object(self.negatives),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A network with the arguments of `get_config`, newly initialised."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects))

    def build_parts(self, *parts: keras.layers.Layer) -> None:
        """Creates all weights; shapes follow from the constructor's arguments alone."""
        for part in (self.embedding, self.similarity, self.neighbours, *parts):
            if part is not None:
                part.build(None)
        self.built = True

    def build_from_config(self, config):
        """Nothing: all weights are there from the beginning."""

    @property
    def num_domains(self) -> int:
        """|D|."""
        return len(self.domain_sizes)

    @property
    def num_items(self) -> int:
        """|V|, the number of items over all domains."""
        return sum(self.domain_sizes)

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
        """What the network looks for next; its dot product with a candidate vector is the score.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
            domains: `[batch, queries]` int32, the domains to predict in, distinct within a row.

        Returns:
            `[batch, queries, dim]` float32.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a user looks for")

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

    def count_trained(self) -> int:
        """Numbers that training learns; `count_params` has lists and λ as well."""
        return sum(int(np.prod(weight.shape)) for weight in self.trainable_weights)

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"items": [batch, length], "domain": [batch]}`.

        Raises:
            tf.errors.InvalidArgumentError: items are no histories, or there is no such domain.
        """
        domains = tf.convert_to_tensor(inputs["domain"])
        return self.query_vectors(tf.convert_to_tensor(inputs["items"]), domains[:, None])[:, 0]

    def checked(self, items, domains):
        """The arguments of `query_vectors`, which are read after they are checked."""
        return check_histories(items, self.num_items), check_queries(domains, self.num_domains)

    # -------------------------------------------------------------------------------- training

    @property
    def reported(self) -> dict[str, str]:
        """Scalars that the log shows, and what `batch_losses` calls them."""
        return {"loss": "total"}

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
        raise NotImplementedError(f"{type(self).__name__} does not say what a batch costs")

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
        rate = self.negatives.count / tf.maximum(sizes - 1.0, 1.0)
        losses = []
        for y in representations:
            query = self.similarity.query(y)
            positive = tf.reduce_sum(query * positive_vectors, axis=-1)
            if self.negatives.shared:
                negative = tf.matmul(query, negative_vectors, transpose_b=True)
            else:
                negative = tf.einsum("bsr,bsnr->bsn", query, negative_vectors)
            positive, negative = tf.cast(positive, tf.float32), tf.cast(negative, tf.float32)
            negative = tf.where(negatives == targets[..., None], EXCLUDED, negative)
            losses.append(self.target_loss(positive, negative, rate[:, None]))
        return losses

    def _negatives(self, blocks):
        """Ids and vectors of sampled items: one set a domain, or one set a target."""
        if self.negatives.shared:
            domains = tf.range(self.num_domains)
        else:
            domains = tf.broadcast_to(blocks.domains[:, None], tf.shape(blocks.slots))
        ids = self.negatives(domains, self.offsets, self.sizes, self._seed)
        vectors = self.similarity.candidate(self.embedding.embed_items(ids))
        if self.negatives.shared:
            # (blocks, negatives): the same for all slots of a block
            return tf.gather(ids, blocks.domains)[:, None], tf.gather(vectors, blocks.domains)
        return ids, vectors  # (blocks, block_size, negatives)

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
        if "segments" not in batch:  # not laid out by `data.batches.train_batches`
            batch = batch | {"items": check_histories(batch["items"], self.num_items)}
        with tf.GradientTape() as tape:
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
        ranks, known = self.target_ranks(batch), batch["target"] > 0
        self.ranking_metrics.update_state(ranks, batch["domain"], known)
        return self.ranking_metrics.result()

    def target_ranks(self, batch):
        """Where each target stands among all items of its domain, votes included.

        Args:
            batch: of `data.batches.evaluation_batches`; rows may be of any domains.

        Returns:
            `[batch]` int32, see `metrics.target_ranks`.
        """
        queries = self({name: batch[name] for name in self.evaluation_signature})
        neighbours: Any = self.neighbours
        order = tf.argsort(batch["domain"], stable=True)
        domains = tf.gather(batch["domain"], order)

        def rank(start, ranks):
            """Rows of one domain, as many as may be scored at once."""
            offset, size = (tf.gather(x, domains[start]) for x in (self.offsets, self.sizes))
            end = tf.searchsorted(domains, domains[start, None], side="right")[0]
            rows = order[start : tf.minimum(end, start + rows_at_once(size))]

            def with_votes(scores):
                ids, votes = neighbours(tf.gather(batch["items"], rows))
                return add_votes(scores, ids, votes, offset)

            def against_all():
                candidates = self.candidate_vectors(tf.range(offset, offset + size))
                scores = tf.matmul(tf.gather(queries, rows), candidates, transpose_b=True)
                if neighbours is not None:  # nobody votes until the training has ended
                    voting = tf.convert_to_tensor(neighbours.weight) > 0
                    scores = tf.cond(voting, lambda: with_votes(scores), lambda: scores)
                items, targets = tf.gather(batch["items"], rows), tf.gather(batch["target"], rows)
                return target_ranks(scores, items, targets, offset)

            # Where no item of the domain was ever trained all are misses.
            missed = tf.fill(tf.shape(rows), max(CUT_OFFS) + 1)
            found = tf.cond(size > 0, against_all, lambda: missed)
            return start + tf.size(rows), tf.tensor_scatter_nd_update(ranks, rows[:, None], found)

        count = tf.size(order)
        return tf.while_loop(
            lambda start, _: start < count, rank, (0, tf.zeros_like(order)), parallel_iterations=1
        )[1]

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


def _domains(sizes: Mapping[str, int] | Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and sizes; by themselves domains are called 0, 1, ..."""
    names = tuple(sizes) if isinstance(sizes, Mapping) else tuple(map(str, range(len(sizes))))
    counts = tuple(map(int, sizes.values() if isinstance(sizes, Mapping) else sizes))
    if not counts or min(counts) < 0:
        raise ValueError(
            f"domain_sizes must be the numbers of items of one domain or more. Received: {sizes}"
        )
    return names, counts
