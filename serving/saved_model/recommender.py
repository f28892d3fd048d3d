"""The served computation: raw item ids in, recommendations of one or every domain out."""

import tf_syncrec  # noqa: F401  # isort: skip  (first: it hides the noise of TensorFlow)
import tensorflow as tf

from data_prep import Catalogue
from serving.saved_model.index import domain_index
from serving.saved_model.votes import with_votes
from tf_syncrec.models.syncrec import SyNCRec

MISSING = float("-inf")
"""Score of a place that no item fills; such places leave as empty strings with score 0."""


class Recommender(tf.Module):
    """A trained model with vocabulary, top-k index per domain and popularity fallback.

    Made of standard TensorFlow operations only, so that the SavedModel needs none of this code;
    with `index="scann"`, of ScaNN's as well.

    Args:
        model: the trained model.
        catalogue: raw ids, domains and training counts of its items.
        top_k: answers of `serving_default`.
        max_k: the most that `with_options` may ask for.
        index: how items are searched, one of `serving.saved_model.index.INDEXES`.
    """

    def __init__(
        self,
        model: SyNCRec,
        catalogue: Catalogue,
        top_k: int = 10,
        max_k: int = 100,
        index: str = "exact",
    ):
        super().__init__(name="recommender")
        # The variables under the Keras ones, and not the model: a Keras variable is written as two,
        # and TensorFlow Serving restores the one that nothing reads (keras-team/keras#20095).
        self.weights = [weight.value for weight in model.weights]
        self._query_vectors = model.query_vectors
        self._candidate_vectors = model.candidate_vectors
        self._neighbours = None if model.neighbours is None else model.neighbours.call
        self._gate_weights = model.gate_weights
        self._lambda = model.negative_transfer.relative.value
        self.expert_names = model.expert_names
        self.top_k = top_k
        self.max_k = max(max_k, top_k)
        ids = ["", *catalogue.item_ids]
        self.item_ids = tf.Variable(ids, trainable=False, name="item_ids")
        self.vocabulary = _table(ids[1:], range(1, len(ids)), default=0)
        self.domain_table = _table(catalogue.domains, range(catalogue.num_domains), default=-1)
        self.domain_names = list(catalogue.domains)
        self.counts = tf.Variable(
            [0.0, *catalogue.counts.astype("float32")], trainable=False, name="counts"
        )
        self.slices = [
            (int(offset), int(size))
            for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True)
        ]
        self.indices = [
            domain_index(model.candidate_vectors(tf.range(offset, offset + size)), offset, index)
            if size
            else None
            for offset, size in self.slices
        ]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="items"),
            tf.TensorSpec([None], tf.string, name="domain"),
        ]
    )
    def serving_default(self, items, domain):
        """Top items for each history.

        Args:
            items: `[batch, any]` raw item ids, oldest first; `""` and unknown ids are passed over.
            domain: `[batch]` domain to recommend in; `""` = every domain.

        Returns:
            `items`, `scores`, `domains`: `[batch, k]`, best first, filled up with `""` and 0 where
            a domain has too few items; `known_items`, `fallback`: `[batch]`.
        """
        rows = tf.shape(domain)
        return self._recommend(items, domain, tf.fill(rows, self.top_k), tf.fill(rows, True))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="items"),
            tf.TensorSpec([None], tf.string, name="domain"),
            tf.TensorSpec([None], tf.int32, name="k"),
            tf.TensorSpec([None], tf.bool, name="exclude_seen"),
        ]
    )
    def with_options(self, items, domain, k, exclude_seen):
        """`serving_default` with options for each row.

        Args:
            items: as in `serving_default`.
            domain: as in `serving_default`.
            k: `[batch]`, answers wanted, from 1 to `max_k`; the output is as wide as the largest.
            exclude_seen: `[batch]`, whether items of the history may not come back.
        """
        tf.debugging.Assert(
            tf.reduce_all((k >= 1) & (k <= self.max_k)),
            [f"k must lie between 1 and {self.max_k}. Received:", k],
            summarize=10,
        )
        # The rest does not wait for the assertion: with such a k it would fail in its own words,
        # or take all memory.
        k = tf.clip_by_value(k, 1, self.max_k)
        return self._recommend(items, domain, k, exclude_seen)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="items")])
    def explain(self, items):
        """What stands behind the answers to each history, for every domain.

        Args:
            items: as in `serving_default`.

        Returns:
            `domains`, `lambda` (λ of each domain, as training left it): `[batch, domains]`;
            `experts` (the task that trains each), `cross_gates`: `[batch, experts]`;
            `single_gates`: `[batch, domains, experts]`; `known_items`: `[batch]`. Gate weights of
            a mixture sum to 1.
        """
        history, known_items = self._recognise(items)
        batch, num_domains = tf.shape(items)[0], len(self.slices)
        every = tf.tile(tf.range(num_domains)[None], [batch, 1])
        cross_gates, single_gates = self._gate_weights(history, every)
        return {
            "domains": tf.tile(tf.constant(self.domain_names)[None], [batch, 1]),
            "lambda": tf.tile(tf.cast(self._lambda, tf.float32)[None], [batch, 1]),
            "experts": tf.tile(tf.constant(self.expert_names)[None], [batch, 1]),
            "cross_gates": cross_gates,
            "single_gates": single_gates,
            "known_items": known_items,
        }

    def _recommend(self, items, domain, k, exclude_seen):
        history, known_items = self._recognise(items)
        domain_index, every = self._recognise_domain(domain)
        fallback = known_items == 0

        # Only a batch that asks for every domain pays for every domain.
        num_domains, batch = len(self.slices), tf.shape(domain)[0]
        asked = tf.cond(
            tf.reduce_any(every),
            lambda: tf.tile(tf.range(num_domains)[None], [batch, 1]),
            lambda: domain_index[:, None],
        )
        queries = self._query_vectors(history, asked)
        tf.debugging.assert_all_finite(queries, "the model's query vectors")
        wanted = every[:, None] | (asked == domain_index[:, None])
        votes = self._neighbours(history) if self._neighbours else ()

        width = tf.reduce_max(k)
        per_domain = []
        for d in range(num_domains):
            where = tf.where(wanted & (asked == d))
            rows = tf.cast(where[:, 0], tf.int32)
            scores, ids = self._search(
                d,
                tf.gather_nd(queries, where),
                tf.gather(history, rows),
                tf.gather(fallback, rows),
                tf.gather(exclude_seen, rows),
                [tf.gather(part, rows) for part in votes],
                width,
            )
            shape = [batch, width]
            per_domain.append(
                (
                    tf.tensor_scatter_nd_update(tf.fill(shape, MISSING), rows[:, None], scores),
                    tf.scatter_nd(rows[:, None], ids, shape),
                    tf.fill(shape, d),
                )
            )
        scores, ids, domains = (tf.concat(parts, axis=1) for parts in zip(*per_domain, strict=True))
        scores, best = tf.math.top_k(scores, k=width)
        ids = tf.gather(ids, best, batch_dims=1)
        domains = tf.gather(domains, best, batch_dims=1)
        filled = (scores > MISSING) & (tf.range(width)[None] < k[:, None])
        names = tf.gather(tf.constant(self.domain_names), domains)
        return {
            "items": tf.where(filled, tf.gather(self.item_ids, ids), ""),
            "scores": tf.where(filled, scores, 0.0),
            "domains": tf.where(filled, names, ""),
            "known_items": known_items,
            "fallback": tf.cast(fallback, tf.int32),
        }

    def _recognise(self, items):
        """Raw ids -> known item ids at the right, in order; and how many there are."""
        ids = self.vocabulary.lookup(items)
        known = tf.cast(ids > 0, tf.int32)
        known_items = tf.reduce_sum(known, axis=1)
        order = tf.argsort(known, axis=1, stable=True)
        ids = tf.gather(ids, order, batch_dims=1)
        return ids[:, tf.shape(ids)[1] - tf.reduce_max(known_items) :], known_items

    def _recognise_domain(self, domain):
        """Domain names -> indices (0 where every domain is wanted), and where that is so."""
        every = domain == ""
        index = self.domain_table.lookup(domain)
        tf.debugging.Assert(
            tf.reduce_all(every | (index >= 0)),
            [
                f"unknown domain; known: {', '.join(self.domain_names)} "
                "(or an empty string for every domain). Received:",
                tf.boolean_mask(domain, ~every & (index < 0)),
            ],
            summarize=5,
        )
        return tf.maximum(index, 0), every

    def _search(self, d, queries, history, fallback, exclude_seen, votes, width):
        """Best items of one domain: scores and ids `[rows, width]`, then MISSING and 0."""
        offset, size = self.slices[d]
        rows = tf.shape(queries)[0]
        if size == 0:
            return tf.fill([rows, width], MISSING), tf.zeros([rows, width], tf.int32)
        # Enough to be left with `width` after the history is taken out.
        count = tf.minimum(size, width + tf.shape(history)[1])
        scores, ids = self.indices[d](queries, k=count)
        # Ids are ordered by popularity within the domain.
        popular = tf.broadcast_to(tf.range(offset, offset + count)[None], [rows, count])
        ids = tf.where(fallback[:, None], popular, ids)
        scores = tf.where(fallback[:, None], tf.gather(self.counts, popular), scores)
        if votes:  # nobody votes where popularity answers
            voted = tf.where((votes[0] >= offset) & (votes[0] < offset + size), votes[0], 0)
            scores, ids = with_votes(
                scores,
                ids,
                voted,
                votes[1],
                lambda items: tf.einsum("bd,bnd->bn", queries, self._candidate_vectors(items)),
            )
        # Padded with what no id reaches: a place to point at, and never a search in nothing, which
        # `searchsorted` refuses.
        ordered = tf.pad(
            tf.sort(history, axis=1), [[0, 0], [0, 1]], constant_values=history.dtype.max
        )
        place = tf.searchsorted(ordered, ids)
        seen = tf.gather(ordered, place, batch_dims=1) == ids
        scores = tf.where(seen & exclude_seen[:, None], MISSING, scores)

        scores = tf.pad(scores, [[0, 0], [0, width]], constant_values=MISSING)
        ids = tf.pad(ids, [[0, 0], [0, width]])
        scores, best = tf.math.top_k(scores, k=width)
        return scores, tf.gather(ids, best, batch_dims=1)


def _table(keys, values, default):
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(keys), tf.string), tf.constant(list(values), tf.int32)
    )
    return tf.lookup.StaticHashTable(initializer, default_value=default)
