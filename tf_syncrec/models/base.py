"""What every network has in common: items by domain, sampled losses, how a target is ranked."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.config import Config
from tf_syncrec.data.batches import Layout, Sequences
from tf_syncrec.data.item_attributes import load as load_attributes
from tf_syncrec.data.item_encoder import ItemEncoder
from tf_syncrec.data.item_similarity import training_histories
from tf_syncrec.data.time_inputs import time_inputs
from tf_syncrec.layers import (
    SharedEmbedding,
    Similarity,
)
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.layers.times.moments import Times
from tf_syncrec.layers.views import check_histories, check_queries
from tf_syncrec.losses import functions as losses_by_name
from tf_syncrec.losses.negatives import UniformNegatives
from tf_syncrec.metrics.target_ranks import ranks_by_domain
from tf_syncrec.models.target_losses import TargetLosses
from tf_syncrec.schema import TERMS_OF_ITEMS
from tf_syncrec.utils.variables import as_array, fill, pieces

_RENAMED = {"loss": ("loss", "name"), "negative_transfer": ("negative_transfer", "enabled")}
"""Arguments of networks that the configuration calls otherwise: section and setting."""


class Asked:
    """What a network is asked while it is evaluated; each is traced, which takes seconds, once.

    Args:
        model: the network.

    Attributes:
        queries: from what its `asked_signature` lists to what `call` returns.
        domain_queries: likewise, for `domain_queries`.
        view_queries: likewise, what its two scores look for in the domain that is asked for, two
            times `[batch, dim]`, of one that has two.
        candidate_scores: the network's own, of candidates for all rows.
    """

    def __init__(self, model: "MultiDomainModel"):
        def of_views(batch):
            first, second = model.view_queries(
                batch["items"], batch["domain"][:, None], model.times_in(batch)
            )
            return first[:, 0], second[:, 0]

        functions = (lambda batch: model(batch)), model.domain_queries, of_views
        self.queries, self.domain_queries, self.view_queries = (
            tf.function(each, input_signature=[model.asked_signature], autograph=False)
            for each in functions
        )
        vectors = tf.TensorSpec([None, None], tf.float32)
        self.candidate_scores = tf.function(
            model.candidate_scores, input_signature=[vectors, vectors], autograph=False
        )


class MultiDomainModel(TargetLosses):
    """A network that recommends the next item in any domain.

    A subclass says what a batch costs (`batch_losses`) and what a user looks for
    (`query_vectors`); items, losses, training step and ranking are the same for all, so that
    networks differ in nothing else. It is an ordinary Keras model: `compile`, `fit` on
    `data.batches.datasets`, `evaluate` on `evaluation_batches`, `save("model.keras")`.

    Args:
        domain_sizes: items of each domain, `{name: size}`, or a sequence of sizes; item ids are
            contiguous by domain from 1.
        window: T, how many items of a history are looked at.
        dim: r, the width.
        dropout: rate, wherever the network drops.
        style: of Transformer blocks, `"pre_norm"` or `"paper"`.
        similarity: `"cosine"` or `"dot"`.
        temperature: divides the score.
        neighbours: co-occurring items of each item that vote in a prediction; 0: none.
        user_neighbours: training users with like histories who vote in the same way; 0: none.
        user_histories: of how many users and interactions their histories are.
        likeness: items with like attributes that vote in the same way; 0: none.
        repeat_consumption: whether coming back to an item has a part in a prediction.
        trend: whether what is popular lately has a part in a prediction.
        new_items: items that nobody had in training, with like attributes, that vote by a weight of
            their own; 0: none.
        unknown_items: whether there may be items that nobody had in training and of which nothing
            is known, see `put_unknown_behind`.
        trained_sizes: items of each domain that occur in training, which stand before those that
            do not; None: all. Negatives are drawn from them alone.
        attributes: what is known of items, see `SharedEmbedding`; None: nothing.
        own_dropout: see `SharedEmbedding`.
        time_inputs: what it is told of times, some of `layers.times.moments.INPUTS`.
        time_dropout: share of the sequences of a training that tell no times, and of the items of
            others that do not tell when they will be, so that it answers who tells nothing, too.
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
    """What `call` reads of a batch of `data.batches.evaluation_batches`, besides times."""

    item_encoder: ItemEncoder | None = None
    """What finds the attributes that it knows of items in other files of them."""

    dot_product: ClassVar[bool] = True
    """Whether a score of the network is the dot product of a query and a candidate vector; else it
    is what `candidate_scores` says."""

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
        user_neighbours: int = 0,
        user_histories: Sequence[int] = (0, 0),
        likeness: int = 0,
        repeat_consumption: bool = False,
        trend: bool = False,
        new_items: int = 0,
        unknown_items: bool = False,
        trained_sizes: Sequence[int] | None = None,
        attributes: Mapping[str, int] | None = None,
        own_dropout: float = 0.0,
        time_inputs: Sequence[str] = (),
        time_dropout: float = 0.3,
        loss: str | Callable = "sampled_softmax",
        negatives: int | UniformNegatives = 256,
        shared_negatives: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.autocast = False  # of what it is given: a time has more digits than a float32
        self._set_domains(domain_sizes, trained_sizes)
        for name, value, least in (("window", window, 2), ("dim", dim, 1)):
            if value < least:
                raise ValueError(f"{name} must be {least} or more. Received: {value}")
        self.window, self.dim, self.dropout_rate, self.style = window, dim, dropout, style
        if isinstance(negatives, int):
            negatives = UniformNegatives(negatives, shared_negatives)
        self.negatives = UniformNegatives.get(negatives)
        self.target_loss = losses_by_name.get(loss)
        self._seed = keras.random.SeedGenerator()
        self.embedding = SharedEmbedding(
            self.num_items,
            self.num_domains,
            window,
            dim,
            dropout,
            style,
            attributes,
            own_dropout,
            time_inputs if self.reads_times else (),
            dtype=self.dtype_policy,
        )
        self.time_dropout = time_dropout
        self._time_seed = keras.random.SeedGenerator() if self.time_inputs else None
        self.similarity = Similarity(similarity, temperature, dtype=self.dtype_policy)
        self._make_terms(
            neighbours=neighbours,
            user_neighbours=user_neighbours,
            user_histories=user_histories,
            likeness=likeness,
            repeat_consumption=repeat_consumption,
            trend=trend,
            new_items=new_items,
            unknown_items=unknown_items,
        )

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
        arguments = {name: value for name, value in given.items() if name in taken} | more
        if not arguments.get("attributes"):
            arguments |= dict.fromkeys(TERMS_OF_ITEMS, 0)
        if isinstance(arguments["time_inputs"], str):  # what is to be found in data, or nothing
            arguments["time_inputs"] = ()
        return cls(domain_sizes, **arguments)

    @classmethod
    def from_data(cls, config: Config, prepared: Sequences) -> Self:
        """A new network for a dataset, told what its items file says."""
        catalogue = prepared.catalogue
        sizes = dict(zip(catalogue.domains, catalogue.sizes, strict=True))
        more = cls.arguments_from(prepared) | {
            "trained_sizes": catalogue.trained_sizes.tolist(),
            "time_inputs": time_inputs(config.model.time_inputs, prepared)
            if cls.reads_times
            else (),
        }
        listed = getattr(prepared, "item_columns", None) is not None
        more["unknown_items"] = listed or bool(catalogue.cold.any())
        known = load_attributes(prepared) if config.model.item_attributes else None
        if known is not None:
            more["attributes"] = {
                "size": known.size,
                "per_item": known.tokens.shape[1],
                "ready_made": 0 if known.dense is None else known.dense.shape[1],
            }
        histories = training_histories(prepared) if config.model.user_neighbours else None
        if histories is not None:
            more["user_histories"] = len(histories.ends) - 1, len(histories.items)
        model = cls.from_settings(config, sizes, **more)
        if histories is not None and model.user_neighbours is not None:
            model.user_neighbours.set_histories(*histories)
        if known is not None:
            for embedding in model.embeddings:
                embedding.set_attributes(known.tokens, known.weights, known.dense)
            model.item_encoder = known.encoder
        model.put_unknown_behind()
        return model

    @classmethod
    def arguments_from(cls, prepared: Sequences) -> dict[str, Any]:
        """What a network's constructor takes of a dataset, besides the sizes of its domains."""
        return {}

    def get_config(self):
        """Constructor arguments."""
        with_terms = super().get_config() | self._terms_config()
        return with_terms | {
            "domain_sizes": dict(zip(self.domains, self.domain_sizes, strict=True)),
            "window": self.window,
            "dim": self.dim,
            "dropout": self.dropout_rate,
            "style": self.style,
            "similarity": self.similarity.kind,
            "temperature": self.similarity.temperature,
            "trained_sizes": None
            if self.trained_sizes == self.domain_sizes
            else self.trained_sizes,
            "attributes": self.embedding.get_config()["attributes"],
            "own_dropout": self.embedding.own_dropout,
            "time_inputs": list(self.time_inputs),
            "time_dropout": self.time_dropout,
            "loss": losses_by_name.serialize(self.target_loss),
            "negatives": keras.saving.serialize_keras_object(self.negatives),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A network with the arguments of `get_config`, newly initialised."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects))

    def plain(self) -> Self:
        """The same network with all that items are in one table, as it is served.

        Returns:
            Itself, if it knows no attributes.
        """
        if self.embedding.attributes is None:
            return self
        inside = {"attributes": None, "own_dropout": 0.0}
        found = self.rebuilt(
            inside, lambda model: [e.attributes for e in model.embeddings if e.attributes]
        )
        for embedding, same in zip(self.embeddings, found.embeddings, strict=True):
            fill(same.items, embedding.whole_table().numpy())
        return found

    def rebuilt(
        self, changes: Mapping[str, Any], parts: Callable[[Self], Iterable[keras.layers.Layer]]
    ) -> Self:
        """The same network with other arguments, and with its weights but those of some parts.

        Args:
            changes: of `get_config`.
            parts: of a network, this one or the other, whose weights are not copied.
        """

        def kept(model):
            left = {id(weight) for part in parts(model) for weight in part.weights}
            return [weight for weight in model.weights if id(weight) not in left]

        found = self.from_config(self.get_config() | changes)
        for weight, same in zip(kept(self), kept(found), strict=True):
            fill(same, as_array(weight))
        return found

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, nothing is trained: what items are by their attributes is added up once."""
        with contextlib.ExitStack() as resting:
            for embedding in self.embeddings:
                resting.enter_context(embedding.at_rest())
            yield

    def build_parts(self, *parts: keras.layers.Layer) -> None:
        """Creates all weights; shapes follow from the constructor's arguments alone."""
        self.mixture = DomainMixture(self.domain_sizes, dtype="float32")
        for part in (self.embedding, self.similarity, *self.terms, *parts, self.mixture):
            if part is not None:
                part.build()
        self.built = True

    def build_from_config(self, config):
        """Nothing: all weights are there from the beginning."""

    # ------------------------------------------------------------------------------ prediction

    def view_queries(self, items, domains, times: Times | None = None):
        """The two query vectors that `view_weights` weighs; arguments as in `query_vectors`.

        Returns:
            Two tensors that can be multiplied with candidate vectors, `[batch, queries, dim]`, or
            `[batch, 1, dim]` of one that is the same in all domains.
        """
        raise NotImplementedError(f"{type(self).__name__} has one score, and not two")

    def query_vectors(self, items, domains, times: Times | None = None):
        """What the network looks for next, see `candidate_scores`.

        Args:
            items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
            domains: `[batch, queries]` int32, the domains to predict in, distinct within a row.
            times: what is told of times; None: nothing.

        Returns:
            `[batch, queries, dim]` float32.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a user looks for")

    def domain_queries(self, inputs):
        """Query vectors in every domain, `[batch, domains, dim]`; inputs as of `call`."""
        items = tf.convert_to_tensor(inputs["items"])
        domains = tf.range(self.num_domains)[None]
        domains = tf.tile(domains, [tf.shape(items)[0], 1])
        return self.query_vectors(items, domains, self.times_in(inputs))

    @property
    def embeddings(self) -> Sequence[SharedEmbedding]:
        """As in `Trainer`: one."""
        return [self.embedding]

    @property
    def tables_in_place(self) -> bool:
        """Whether `item_tables` costs nothing, since items are what their rows are."""
        return all(each.attributes is None for each in self.embeddings)

    def item_tables(self) -> list[tf.Tensor]:
        """What all items are, `[items + 1, any]` float32 for each of `embeddings`.

        Not to be kept where they are `tables_in_place`, as `utils.variables.in_place`.
        """
        return [each.whole_table() for each in self.embeddings]

    def candidate_vectors(self, items):
        """What a query vector is compared with.

        Args:
            items: int32 ids of any shape.

        Returns:
            `[..., dim]` float32.
        """
        return self.similarity.candidate(tf.cast(self.item_vectors(items), tf.float32))

    def candidate_scales(self, items):
        """What each row of a table of item vectors is multiplied by, `[items + 1]` float32.

        Args:
            items: `[items + 1, dim]`, of one of `item_tables`.
        """
        parts = [self.similarity.scale(items[rows])[:, 0] for rows in pieces(items)]
        return tf.concat(parts, axis=0)

    def candidate_scores(self, queries, candidates):
        """Scores of candidates: dot products, unless a network has a way of its own.

        Args:
            queries: `[rows, width]` float32, of `query_vectors`.
            candidates: of `candidate_vectors`: `[n, any]`, the same for all rows; or those of each
                row, `[rows, n, any]`.

        Returns:
            `[rows, n]` float32.
        """
        if candidates.shape.rank == 2:
            return tf.matmul(queries, candidates, transpose_b=True)
        return tf.einsum("bd,bnd->bn", queries, candidates)

    @property
    def learned(self) -> list[keras.Variable]:
        """All that training changes: weights, and what λ remembers; in the order of `weights`."""
        others = {id(weight) for part in self.fitted_parts for weight in part.weights}
        for embedding in self.embeddings:
            if embedding.attributes is not None:  # what is known of items is given
                others |= {id(weight) for weight in embedding.attributes.non_trainable_weights}
        return [weight for weight in self.weights if id(weight) not in others]

    def count_trained(self) -> int:
        """Numbers that training learns; `count_params` has lists and λ as well."""
        return sum(int(np.prod(weight.shape)) for weight in self.trainable_weights)

    @functools.cached_property
    def asked(self) -> Asked:
        """Its functions for whoever ranks with it; they read the weights of the moment."""
        return Asked(self)

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"items": [batch, length], "domain": [batch]}`.

        A network that is told of times reads those of `Times`, too, if they are there.

        Raises:
            tf.errors.InvalidArgumentError: items are no histories, or there is no such domain.
        """
        domains = tf.convert_to_tensor(inputs["domain"])
        items, times = tf.convert_to_tensor(inputs["items"]), self.times_in(inputs)
        return self.query_vectors(items, domains[:, None], times)[:, 0]

    def checked(self, items, domains):
        """The arguments of `query_vectors`, which are read after they are checked."""
        return check_histories(items, self.num_items), check_queries(domains, self.num_domains)

    def target_ranks(self, batch):
        """Where each target stands among all items of its domain, votes included.

        Args:
            batch: of `data.batches.evaluation_batches`; rows may be of any domains.

        Returns:
            `[batch]` float64, see `metrics.target_ranks`.
        """
        queries = self(self.asked_by(batch))

        def scores_of(rows, offset, size):
            candidates = self.candidate_vectors(tf.range(offset, offset + size))
            scores = self.candidate_scores(tf.gather(queries, rows), candidates)
            if self.trend is not None:
                scores += self.trend.gain.value[offset : offset + size]
            for voter in self.voters:  # who has nothing to say until the training has ended
                voted = functools.partial(with_votes, scores, voter, rows, offset)
                scores = tf.cond(voter.voting(), voted, functools.partial(tf.identity, scores))
            return scores

        def with_votes(scores, voter, rows, offset):
            ids, votes = voter(tf.gather(batch["items"], rows))
            return add_votes(scores, ids, votes, offset)

        return ranks_by_domain(batch, self.offsets, self.sizes, scores_of)
