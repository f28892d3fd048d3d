"""The served computation: raw item ids in, recommendations of one or every domain out."""

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from serving.saved_model.domain_search import MISSING, DomainSearch
from serving.saved_model.vocabulary import Vocabulary, table
from tf_syncrec.layers.score_terms.item_neighbours import all_votes
from tf_syncrec.models.base import MultiDomainModel

RULE = -1
"""In place of whether items of the history may not come back: as the domain has it."""


class Recommender(tf.Module):
    """A trained model with vocabulary, top-k index per domain and popularity fallback.

    Made of standard TensorFlow operations only, so that the SavedModel needs none of this code;
    with `index="scann"`, of ScaNN's as well.

    A model that knows users and not histories (it has `user_ids` and `user_vectors`) is asked by
    one more input, `user_id`. Histories then say what may not come back, and vote.

    A model in whose score times have a say is asked by `timestamps` and `now` in `with_options` and
    `each_domain`, and in one more signature, `with_times`.

    Whether items of a history may come back is a rule of each domain (`Catalogue.repeats`), which
    `with_options` overrides.

    Args:
        model: the trained model.
        catalogue: raw ids, domains and training counts of its items.
        top_k: answers of `serving_default`.
        max_k: the most that `top_k` and `with_options` may ask for.
        index: how items are searched, one of `serving.saved_model.INDEXES`.

    Attributes:
        functions: `{name: tf.function}`, what the SavedModel is asked by.
    """

    def __init__(
        self,
        model: MultiDomainModel,
        catalogue: Catalogue,
        top_k: int = 10,
        max_k: int = 100,
        index: str = "exact",
    ):
        super().__init__(name="recommender")
        # The variables under the Keras ones, and not the model: a Keras variable is written as two,
        # and TensorFlow Serving restores the one that nothing reads (keras-team/keras#20095).
        self.weights = [weight.value for weight in model.weights]
        self._default_k = top_k
        self.max_k = max(max_k, top_k)
        self.vocabulary = Vocabulary(catalogue)
        trend = model.trend if model.trend is not None and np.any(model.trend.gain) else None
        self._trend = trend is not None

        def candidate_vectors(items):
            """With what everybody's score gains, which a query multiplies by 1."""
            vectors = model.candidate_vectors(items)
            return vectors if trend is None else tf.concat([vectors, trend(items)[..., None]], -1)

        self.searches = [
            DomainSearch(
                domain,
                int(offset),
                catalogue.counts[offset - 1 : offset - 1 + size].astype("float32"),
                candidate_vectors,
                model.mixture,
                index,
                bool(catalogue.repeats[domain]),
            )
            for domain, (offset, size) in enumerate(
                zip(catalogue.offsets, catalogue.sizes, strict=True)
            )
        ]
        self._query_vectors = model.query_vectors
        self._log_domains = model.mixture.log_domains
        self._voters = [voter.call for voter in model.voters if bool(voter.voting())]
        self.timed = model.repeats is not None and bool(model.repeats.timed())
        self._gate_weights = model.gate_weights
        self.expert_names = model.expert_names
        self._lambda = None
        if hasattr(model, "negative_transfer"):
            self._lambda = model.negative_transfer.relative.value
        self._users = None
        if hasattr(model, "user_vectors"):
            self._users = table(model.user_ids, start=0, default=-1)
            self._user_vectors = model.user_vectors

        items = tf.TensorSpec([None, None], tf.string, name="items")
        domain = tf.TensorSpec([None], tf.string, name="domain")
        k = tf.TensorSpec([None], tf.int32, name="k")
        exclude_seen = tf.TensorSpec([None], tf.bool, name="exclude_seen")
        times = tf.TensorSpec([None, None], tf.float64, name="timestamps")
        now = tf.TensorSpec([None], tf.float64, name="now")
        user_id = [tf.TensorSpec([None], tf.string, name="user_id")] if self._users else []
        asked_by = {
            "serving_default": (self.serving_default, [items, domain, *user_id]),
            "top_k": (self.top_k, [items, domain, k, *user_id]),
            "with_options": (self.with_options, [items, domain, k, exclude_seen, *user_id]),
            "each_domain": (self.each_domain, [items, k, *user_id]),
            "explain": (self.explain, [items]),
        }
        told = [times, now] if self.timed else []
        if self.timed:
            asked_by |= {
                "with_times": (self.with_times, [items, domain, k, *told, *user_id]),
                "with_options": (
                    self.with_options_and_times,
                    [items, domain, k, exclude_seen, *told, *user_id],
                ),
                "each_domain": (self.each_domain_and_times, [items, k, *told, *user_id]),
            }
        # One graph for all of them: it is most of what an export takes.
        seen, each = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.bool)
        self._answers = tf.function(
            self._recommend,
            input_signature=[items, domain, k, seen, each, *told, *user_id],
            autograph=False,
        )
        self.functions = {
            name: tf.function(method, input_signature=inputs, autograph=False)
            for name, (method, inputs) in asked_by.items()
        }

    def serving_default(self, items, domain, user_id=None):
        """Top items for each history.

        Args:
            items: `[batch, any]` raw item ids, oldest first; `""` and unknown ids are passed over.
            domain: `[batch]` domain to recommend in; `""` = every domain.
            user_id: `[batch]` raw user ids, for a model that knows users.

        Returns:
            `items`, `scores`, `domains`: `[batch, k]`, best first, filled up with `""` and 0 where
            a domain has too few items; `known_items`, `fallback`: `[batch]`. For every domain,
            scores are log-probabilities of what comes next (`layers.score_terms.domain_mixture`).
        """
        rows = tf.shape(domain)
        return self._asked(
            items, domain, tf.fill(rows, self._default_k), tf.fill(rows, RULE), user_id
        )

    def top_k(self, items, domain, k, user_id=None):
        """`serving_default` with a number of answers for each row.

        Args:
            items: as in `serving_default`.
            domain: as in `serving_default`.
            k: `[batch]`, answers wanted, from 1 to `max_k`; the output is as wide as the largest.
            user_id: as in `serving_default`.
        """
        return self._asked(items, domain, k, tf.fill(tf.shape(domain), RULE), user_id)

    def with_times(self, items, domain, k, timestamps, now, user_id=None):
        """`top_k` for who knows when it was.

        Args:
            items: as in `serving_default`.
            domain: as in `serving_default`.
            k: as in `top_k`.
            timestamps: `[batch, any]`, when the items were, in the unit of the log (seconds since
                1970, or milli-, micro- or nanoseconds); all 0 in a row of which that is not known.
            now: `[batch]`, when the answer is wanted; 0 where that is not known.
            user_id: as in `serving_default`.
        """
        rule = tf.fill(tf.shape(domain), RULE)
        return self._asked(items, domain, k, rule, user_id, (timestamps, now))

    def with_options(self, items, domain, k, exclude_seen, user_id=None):
        """`serving_default` with options for each row.

        Args:
            items: as in `serving_default`.
            domain: as in `serving_default`.
            k: as in `top_k`.
            exclude_seen: `[batch]`, whether items of the history may not come back, whatever the
                rule of the domain is.
            user_id: as in `serving_default`.
        """
        return self._asked(items, domain, k, tf.cast(exclude_seen, tf.int32), user_id)

    def with_options_and_times(self, items, domain, k, exclude_seen, timestamps, now, user_id=None):
        """`with_options` of a model in whose score times have a say; arguments as above."""
        seen = tf.cast(exclude_seen, tf.int32)
        return self._asked(items, domain, k, seen, user_id, (timestamps, now))

    def each_domain(self, items, k, user_id=None):
        """The answers of `top_k` in each domain, all by one pass of the network.

        Args:
            items: as in `serving_default`.
            k: as in `top_k`, of each domain.
            user_id: as in `serving_default`.

        Returns:
            `items`, `scores`: `[batch, domains, k]`, as `top_k` answers when it is asked for one
            domain after the other; `domains`: `[batch, domains]`; `known_items`, `fallback`:
            `[batch]`.
        """
        return self._in_each(items, k, user_id)

    def each_domain_and_times(self, items, k, timestamps, now, user_id=None):
        """`each_domain` of a model in whose score times have a say; arguments as above."""
        return self._in_each(items, k, user_id, (timestamps, now))

    def _in_each(self, items, k, user_id, times=None):
        rule, nothing = tf.fill(tf.shape(k), RULE), tf.fill(tf.shape(k), "")
        answer = self._asked(items, nothing, k, rule, user_id, times, each=True)
        rows, num_domains = tf.shape(k)[0], len(self.searches)
        width = tf.shape(answer["items"])[1]
        shape = [rows, num_domains, width // num_domains]
        names = tf.tile(tf.constant(self.vocabulary.domains)[None], [rows, 1])
        lists = {name: tf.reshape(answer[name], shape) for name in ("items", "scores")}
        return {**answer, **lists, "domains": names}

    def _asked(self, items, domain, k, exclude_seen, user_id, times=None, each=False):
        if not self.timed:
            times = ()
        elif times is None:
            times = _no_times(items), tf.zeros(tf.shape(domain), tf.float64)
        user_id = [user_id] if self._users else []
        return self._answers(items, domain, k, exclude_seen, each, *times, *user_id)

    def explain(self, items):
        """What stands behind the answers to each history, for every domain, as far as models tell.

        Args:
            items: as in `serving_default`.

        Returns:
            `domains`: `[batch, domains]`, and `known_items`: `[batch]`. Of a model with λ:
            `lambda`, as training left it, `[batch, domains]`. Of a model with gates: `experts` (the
            task that trains each), `cross_gates`: `[batch, experts]`; `single_gates`:
            `[batch, domains, experts]`; gate weights of a mixture sum to 1.
        """
        history, known_items = self.vocabulary.histories(items)
        batch = tf.shape(items)[0]

        def for_each_row(values):
            return tf.tile(tf.convert_to_tensor(values)[None], [batch, 1])

        domains = self.vocabulary.domains
        answer = {"domains": for_each_row(domains), "known_items": known_items}
        if self._lambda is not None:
            answer["lambda"] = for_each_row(tf.cast(self._lambda, tf.float32))
        if self.expert_names:
            gates = self._gate_weights(history, for_each_row(tf.range(len(domains))))
            answer["experts"] = for_each_row(self.expert_names)
            answer["cross_gates"], answer["single_gates"] = gates
        return answer

    def _recommend(self, items, domain, k, exclude_seen, each, *more):
        """What all signatures ask for.

        Args:
            items: as in `serving_default`.
            domain: likewise.
            k: as in `top_k`.
            exclude_seen: `[batch]` int32, `RULE` or whether items of the history may not come back.
            each: whether the answers are those of every domain for itself, one after the other,
                `[batch, domains * k]`; `domain` is then `""`.
            more: timestamps and now, if times have a say; user ids, if the model knows users.
        """
        times, user_id = (more[:2], more[2:]) if self.timed else ((), more)
        tf.debugging.Assert(
            tf.reduce_all((k >= 1) & (k <= self.max_k)),
            [f"k must lie between 1 and {self.max_k}. Received:", k],
            summarize=10,
        )
        # The rest does not wait for the assertion: with such a k it would fail in its own words,
        # or take all memory.
        k = tf.clip_by_value(k, 1, self.max_k)
        when = [_checked(times[0], times[1], items)] if times else []
        history, known_items, *when = self.vocabulary.histories(items, *when)
        domain_index, every = self.vocabulary.domain_indices(domain)

        # Only a batch that asks for every domain pays for every domain.
        batch, num_domains = tf.shape(domain)[0], len(self.searches)
        asked = tf.cond(
            each | tf.reduce_any(every),
            lambda: tf.tile(tf.range(num_domains)[None], [batch, 1]),
            lambda: domain_index[:, None],
        )
        queries, known = self._queries(history, known_items, asked, *user_id)
        tf.debugging.assert_all_finite(queries, "the model's query vectors")
        wanted = every[:, None] | (asked == domain_index[:, None])
        mixed = every & ~each
        votes = all_votes(self._voters, history, *when, *times[1:])
        log_domains = self._log_domains(history)

        width = tf.maximum(tf.reduce_max(k), 1)  # of a batch without rows, too
        per_domain = []
        for d, search in enumerate(self.searches):
            where = tf.where(wanted & (asked == d))
            rows = tf.cast(where[:, 0], tf.int32)
            scores, ids = search(
                tf.gather_nd(queries, where),
                tf.gather(history, rows),
                tf.gather(~known, rows),
                tf.gather(exclude_seen, rows),
                [tf.gather(part, rows) for part in votes],
                tf.gather(mixed, rows),
                tf.gather(log_domains, rows),
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
        place = tf.tile(tf.range(width), [num_domains])[None]

        def best_of_all():
            found, best = tf.math.top_k(scores, k=width)
            at = [tf.gather(x, best, batch_dims=1) for x in (ids, domains)]
            return found, *at, tf.range(width)[None]

        scores, ids, domains, place = tf.cond(
            each, lambda: (scores, ids, domains, place), best_of_all
        )
        names, domain_names = self.vocabulary.names(ids, domains)
        filled = (scores > MISSING) & (place < k[:, None])
        return {
            "items": tf.where(filled, names, ""),
            "scores": tf.where(filled, scores, 0.0),
            "domains": tf.where(filled, domain_names, ""),
            "known_items": known_items,
            "fallback": tf.cast(~known, tf.int32),
        }

    def _queries(self, history, known_items, domains, user_id=None):
        """Query vectors `[batch, queries, dim]`, and of whom anything is known, `[batch]`."""
        if self._users is None:
            vectors, known = self._query_vectors(history, domains), known_items > 0
        else:
            rows = self._users.lookup(user_id)
            vectors, known = self._user_vectors(tf.maximum(rows, 0))[:, None], rows >= 0
            vectors = tf.tile(vectors, [1, tf.shape(domains)[1], 1])
        if self._trend:
            vectors = tf.concat([vectors, tf.ones_like(vectors[..., :1])], axis=-1)
        return vectors, known


def _checked(timestamps, now, items):
    """Times that belong to the items; of others it fails, and nothing else trips over them."""
    shapes = tf.shape(timestamps), tf.shape(items)
    alike = tf.reduce_all(shapes[0] == shapes[1])
    for times in (timestamps, now):
        alike &= tf.reduce_all(tf.math.is_finite(times))
    tf.debugging.Assert(
        alike, ["timestamps must have a number for each of items. Received shapes:", *shapes]
    )
    return tf.cond(alike, lambda: timestamps, lambda: _no_times(items))


def _no_times(items):
    """Times of interactions of which none is known."""
    return tf.zeros(tf.shape(items), tf.float64)
