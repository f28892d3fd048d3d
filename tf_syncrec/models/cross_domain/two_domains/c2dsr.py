"""C²DSR: items passed on along a graph, and domains that have to know of each other (CIKM 2022)."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers import TransformerExperts, View, group_by_domain, item_domains
from tf_syncrec.layers.views import PAD
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.cross_domain.resting import RestingTables
from tf_syncrec.models.cross_domain.two_domains.encoders import DomainEncoders
from tf_syncrec.models.cross_domain.two_domains.infomax import CrossDomainInfomax, sum_by_domain
from tf_syncrec.models.cross_domain.two_domains.item_graph import ItemGraph, transitions
from tf_syncrec.models.sequential import mean_over_targets
from tf_syncrec.utils.variables import fill


class C2DSRLosses(NamedTuple):
    """What one batch costs.

    Attributes:
        total: what is minimised, scalar.
        prediction: of both representations together, mean over targets, scalar.
        cross: of the cross-domain representation alone, likewise.
        infomax: mean over users, sum over domains, scalar.
    """

    total: tf.Tensor
    prediction: tf.Tensor
    cross: tf.Tensor
    infomax: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class C2DSR(MultiDomainModel):
    """A graph of items, an encoder a domain and one of the merged sequence, and an infomax loss.

    An item enters a sequence as `e_i + g_i`, with g_i of the graph of what came after what in
    training: in merged sequences for the cross stream, within a domain for that of the domain
    (`ItemGraph`). In domain d the next item is predicted from `h + h_d`, what the Transformers of
    the merged sequence and of the domain say. The infomax objective lets the domain's own
    prototype, the mean over its h_d, tell by a bilinear discriminator of the domain whether the
    prototype of the others, the mean of h over their items in the merged sequence, is of this user
    or of a sequence in which all items of d were replaced by random ones of d::

        L = λ (L_prediction + L_cross) + (1 - λ) sum over d of L_infomax(d)

    The paper has two domains. With more, "the others" are merged: all slots of other domains. Who
    has one domain only has no infomax. One table of items is everybody's, where the paper has one
    of each graph and one of outputs; so are loss and negatives. As in the authors' program the
    domain's loss is of `h + h_d`, which is what is ranked by.

    As there, too, graphs have the transitions of the very user who is trained: in training, what an
    item passes on has the target in it always, and the more of it the fewer items came after that
    one; afterwards only where others had both.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        edges: of the merged graph and of that of single domains: `[n, 2]` ids each, of
            `transitions`, or how many there will be; None: what the graphs say is a weight.
        blocks: attention blocks of an encoder.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: r.
        depth: L, how often vectors are passed on.
        prediction_weight: λ, as published.
        kwargs: as in `MultiDomainModel`.

    Reference: Contrastive Cross-Domain Sequential Recommendation (CIKM 2022, arXiv 2304.03891),
    section 4.
    """

    def __init__(
        self,
        domain_sizes,
        *,
        edges: Sequence[Any] | None = (0, 0),
        blocks=2,
        heads=1,
        ff_dim=None,
        depth=1,
        prediction_weight=0.7,
        **kwargs,
    ):
        super().__init__(domain_sizes, **kwargs)
        part = {"dtype": self.dtype_policy}
        shape = (blocks, self.dim, heads, ff_dim, self.dropout_rate, self.style)
        self.prediction_weight = prediction_weight
        self.cross_encoder = TransformerExperts(1, *shape, **part)
        self.domain_encoders = DomainEncoders(self.num_domains, *shape, **part)
        given = [np.asarray(each) for each in edges or ()]
        counts = [len(each) if each.ndim else int(each) for each in given]
        self.cross_graph, self.domain_graph = (
            ItemGraph(self.num_items, self.dim, count, depth, dtype="float32")
            for count in counts or (None, None)
        )
        self.infomax = CrossDomainInfomax(self.num_domains, self.dim, dtype="float32")
        self._resting = RestingTables([self.dim], [self.dim])
        self._corruption_seed = keras.random.SeedGenerator()
        self._arguments = {
            "edges": counts or None,
            "blocks": blocks,
            "heads": heads,
            "ff_dim": ff_dim,
            "depth": depth,
            "prediction_weight": prediction_weight,
        }
        self.build_parts(self.cross_encoder, self.domain_encoders, self.infomax, *self.graphs)
        for graph, each in zip(self.graphs, given, strict=False):
            if each.ndim:
                graph.set_edges(each.astype(np.int32))

    @property
    def graphs(self) -> tuple[ItemGraph, ItemGraph]:
        """Of merged sequences, and of single domains."""
        return self.cross_graph, self.domain_graph

    @property
    def reported(self):
        """As in `MultiDomainModel`."""
        names = ("prediction", "cross", "infomax")
        return {"loss": "total"} | {f"loss_{name}": name for name in names}

    @property
    def learned(self):
        """As in `MultiDomainModel`; graphs are those of the data."""
        given = {id(weight) for graph in self.graphs for weight in graph.weights}
        return [weight for weight in super().learned if id(weight) not in given]

    @property
    def item_lists(self):
        """As in `MultiDomainModel`."""
        edges = [graph.edges for graph in self.graphs if graph.num_edges is not None]
        return [*super().item_lists, *edges]

    def get_config(self):
        """Constructor arguments; edges are weights, of which this has the number."""
        return super().get_config() | dict(self._arguments)

    @classmethod
    def arguments_from(cls, prepared):
        """As in `MultiDomainModel`: what came after what in training."""
        return {"edges": transitions(prepared)}

    def plain(self):
        """As in `MultiDomainModel`; what the graphs say of items is there once and for all."""
        same = super().plain()
        if same.domain_graph.num_edges is None:
            return same
        found = same.rebuilt({"edges": None}, lambda model: model.graphs)
        for vectors, graph in zip(same._asked_tables(), found.graphs, strict=True):
            fill(graph.vectors, vectors.numpy())
        return found

    @contextlib.contextmanager
    def at_rest(self):
        """As in `MultiDomainModel`; what the graphs say of items is found once, too."""
        with super().at_rest(), contextlib.ExitStack() as resting:
            if self.domain_graph.num_edges is not None:
                resting.enter_context(self._resting.made_once(self.passed_on))
            yield

    def evaluate(self, *args, **kwargs):
        """As in `MultiDomainModel`; nothing is trained meanwhile."""
        with self.at_rest():
            return super().evaluate(*args, **kwargs)

    def passed_on(self, training=None):
        """What each of the graphs says of all items, two times `[items + 1, dim]` float32."""
        items = None
        if self.domain_graph.num_edges is not None:
            items = self.embedding.every_item(training)
        return [graph(items) for graph in self.graphs]

    def _asked_tables(self):
        """What `passed_on` returns, or did when rest began."""
        if self.domain_graph.num_edges is None:
            return self.passed_on()
        return self._resting.tables(self.passed_on)

    def _embedded(self, view: View, of_graph, training=None, of_batch=True):
        items = tf.maximum(view.tokens, PAD)
        vectors = self.embedding.embed_items(items, of_batch)
        vectors += tf.cast(tf.gather(of_graph, items), vectors.dtype)
        return self.embedding(view, training=training, vectors=vectors)

    def _cross(self, view, of_graph, last=None, training=None, of_batch=True):
        """h: `[batch, slots or last, dim]`."""
        embedded = self._embedded(view, of_graph, training, of_batch)
        return self.cross_encoder(embedded, view.mask, last=last, training=training)[0]

    def _single(self, view, of_graph, last=None, training=None):
        """h_d of the domain of each slot: `[batch, slots or last, dim]`."""
        embedded = self._embedded(view, of_graph, training)
        return self.domain_encoders.of_domains(
            embedded, view.mask, view.domains, last, training=training
        )

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`."""
        items, domains = self.checked(items, domains)
        cross_view, single_view = self.views(items, domains, times)
        cross, single = self._asked_tables()
        y = self._cross(cross_view, cross, last=1)
        y += self._single(single_view, single, last=tf.shape(domains)[1])
        return tf.cast(self.similarity.query(y), tf.float32)

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> C2DSRLosses:
        """As in `MultiDomainModel`, and what infomax costs."""
        cross_view, single_view = self.training_views(items, segments, timestamps, training)
        of_cross, of_single = self.passed_on(training)
        cross = self._cross(cross_view, of_cross, training=training)
        single = self._single(single_view, of_single, training=training)
        blocks = group_by_domain(single_view.domains, self.num_domains)
        targets = blocks.gather(single_view.targets(items))
        y = [blocks.gather(cross + single), blocks.gather(cross)]
        both, alone = (
            mean_over_targets(losses, blocks).total
            for losses in self.target_losses(y, targets, blocks)
        )

        own, merged = self._sums(single, single_view), self._sums(cross, cross_view)
        false = []
        for d in range(self.num_domains):
            view = self.corrupted(cross_view, d)
            h = self._cross(view, of_cross, training=training, of_batch=False)
            false.append(self._sums(h, view)[0])
        infomax = self.infomax(own, merged, tf.stack(false))
        weight = self.prediction_weight
        total = weight * (both + alone) + (1.0 - weight) * infomax
        return C2DSRLosses(total, both, alone, infomax)

    def corrupted(self, view: View, d: int) -> View:
        """The view with random items of domain d in the place of its items of d."""
        tokens = view.tokens
        size = max(self.trained_sizes[d], 1)
        drawn = keras.random.uniform(tf.shape(tokens), seed=self._corruption_seed)
        places = tf.minimum(tf.cast(drawn * size, tf.int32), size - 1)
        of_d = (item_domains(tokens, self.offsets) == d) & (tokens > PAD)
        return view._replace(tokens=tf.where(of_d, self._offsets[d] + places, tokens))

    def _sums(self, h, view):
        return sum_by_domain(h, view, self.offsets, self.num_domains)
