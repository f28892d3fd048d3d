"""The served computation: raw item ids in, recommendations of one or every domain out."""

import functools

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from serving.saved_model.search.domain_search import MISSING, DomainSearch
from serving.saved_model.signatures import INPUTS, signatures_of
from serving.saved_model.vocabulary import Vocabulary, table
from tf_syncrec.layers.score_terms.item_neighbours import all_votes
from tf_syncrec.layers.times.moments import Times
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.score_parts import score_parts

RULE = -1
"""In place of whether items of the history may not come back: as the domain has it."""


class Recommender(tf.Module):
    """A trained model with vocabulary, top-k index per domain and popularity fallback.

    Made of standard TensorFlow operations only, so that the SavedModel needs none of this code;
    with `index="scann"`, of ScaNN's as well.

    A model that knows users and not histories (it has `user_ids` and `user_vectors`) is asked by
    one more input, `user_id`. Histories then say what may not come back, and vote.

    Whether items of a history may come back is a rule of each domain (`Catalogue.repeats`), which
    a request may override.

    Args:
        model: the trained model.
        catalogue: raw ids, domains and training counts of its items.
        top_k: answers of `serving_default`.
        max_k: the most that `top_k` and `with_options` may ask for.
        index: how items are searched, one of `serving.saved_model.INDEXES`.

    Attributes:
        functions: `{name: tf.function}`, what the SavedModel is asked by, see `signatures`.
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
        model = model.plain()
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

        def candidate_scores(queries, candidates):
            if trend is None:
                return model.candidate_scores(queries, candidates)
            scores = model.candidate_scores(queries[:, :-1], candidates[..., :-1])
            return scores + candidates[..., -1]

        self._sizes = catalogue.sizes.tolist()
        self._search = DomainSearch(
            catalogue,
            candidate_vectors(tf.range(1, catalogue.num_items + 1)),
            model.mixture,
            index,
            None if model.dot_product else candidate_scores,
        )
        self._query_vectors = model.query_vectors
        self._log_domains = model.mixture.log_domains
        self._voters = [voter.call for voter in model.voters if bool(voter.voting())]
        self.timed = model.timed()
        self._gate_weights = model.gate_weights
        self._score_parts = functools.partial(score_parts, model)
        self.expert_names = model.expert_names
        self._lambda = None
        if hasattr(model, "negative_transfer"):
            self._lambda = model.negative_transfer.relative.value
        self._users = None
        if hasattr(model, "user_vectors"):
            self._users = table(model.user_ids, start=0, default=-1)
            self._user_vectors = model.user_vectors

        shared = ["items", "domain", "k", "allow", "deny"]
        shared += ["timestamps", "now"] * self.timed + ["user_id"] * self.knows_users
        # One graph for all signatures: it is most of what an export takes.
        self._answers = tf.function(
            self._recommend,
            input_signature=[
                tf.TensorSpec([None], tf.int32, name="exclude_seen"),
                tf.TensorSpec([], tf.bool, name="each"),
                *(INPUTS[name] for name in shared),
            ],
            autograph=False,
        )
        self.functions = signatures_of(self)

    @property
    def knows_users(self) -> bool:
        """Whether it is asked by user ids."""
        return self._users is not None

    def answer(
        self,
        items,
        domain=None,
        k=None,
        exclude_seen=None,
        allow=None,
        deny=None,
        timestamps=None,
        now=None,
        user_id=None,
    ):
        """What signatures answer, see there; of the options, None is what they do not ask for.

        Args:
            items: `[batch, any]`, and so on, see `signatures.INPUTS`.
            domain: None: in each of them.
            k: None: as many as were set at export.
            exclude_seen: None: by the rule of each domain.
            allow: None: all may be answered.
            deny: None: none is denied.
            timestamps: None: not known.
            now: None: not known.
            user_id: of a model that knows users.
        """
        rows = tf.shape(items)[:1]
        none = tf.fill([rows[0], 0], "")
        answer = self._answers(
            tf.fill(rows, RULE) if exclude_seen is None else tf.cast(exclude_seen, tf.int32),
            domain is None,
            items,
            tf.fill(rows, "") if domain is None else domain,
            tf.fill(rows, self._default_k) if k is None else k,
            none if allow is None else allow,
            none if deny is None else deny,
            *([_no_times(items) if timestamps is None else timestamps] * self.timed),
            *([tf.zeros(rows, tf.float64) if now is None else now] * self.timed),
            *([user_id] * self.knows_users),
        )
        if domain is not None:
            return answer
        num_domains = len(self._sizes)
        shape = [rows[0], num_domains, tf.shape(answer["items"])[1] // num_domains]
        names = tf.tile(tf.constant(self.vocabulary.domains)[None], [rows[0], 1])
        lists = {name: tf.reshape(answer[name], shape) for name in ("items", "scores")}
        return {**answer, **lists, "domains": names}

    def explain(self, items):
        """What stands behind the answers to each history, for every domain, as far as models tell.

        Args:
            items: see `signatures.INPUTS`.

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

    def explain_items(self, items, candidates):
        """What the scores of some items are made of, asked without times.

        The parts of an item add up to its score.

        Args:
            items: see `signatures.INPUTS`.
            candidates: likewise, those to be explained.

        Returns:
            `votes`: `[batch, candidates, any]`, what each of `items` adds; and the other parts of
            `scoring.score_parts`, each `[batch, candidates]`. 0 of unknown ids.
        """
        places = tf.tile(tf.range(tf.shape(items)[1])[None], [tf.shape(items)[0], 1])
        history, known, places = self.vocabulary.histories(items, places)
        parts = self._score_parts(history, self.vocabulary.ids(candidates))
        back = tf.one_hot(places, tf.shape(items)[1])
        parts["votes"] = tf.einsum("bcl,blw->bcw", parts["votes"], back)
        return parts | {"known_items": known}

    def _recommend(self, exclude_seen, each, items, domain, k, allow, deny, *more):
        """What all signatures ask for.

        Args:
            exclude_seen: `[batch]` int32, `RULE` or whether items of the history may not come back.
            each: whether the answers are those of every domain for itself, one after the other,
                `[batch, domains * k]`; `domain` is then `""`.
            items: see `signatures.INPUTS`.
            domain: likewise.
            k: likewise.
            allow: likewise.
            deny: likewise.
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
        batch, num_domains = tf.shape(domain)[0], len(self._sizes)
        asked = tf.cond(
            each | tf.reduce_any(every),
            lambda: tf.tile(tf.range(num_domains)[None], [batch, 1]),
            lambda: domain_index[:, None],
        )
        told = Times(when[0], times[1]) if times else None
        queries, known = self._queries(history, known_items, asked, told, *user_id)
        tf.debugging.assert_all_finite(queries, "the model's query vectors")
        wanted = every[:, None] | (asked == domain_index[:, None])
        mixed = every & ~each
        votes = all_votes(self._voters, history, *when, *times[1:])
        log_domains = self._log_domains(history)
        restricted = tf.reduce_any(allow != "", axis=1)
        allowed, denied = self.vocabulary.ids(allow), self.vocabulary.ids(deny)

        width = tf.maximum(tf.reduce_max(k), 1)  # of a batch without rows, too
        domains, _ = tf.unique(tf.boolean_mask(asked, wanted))
        domains = tf.boolean_mask(domains, tf.gather(self._sizes, domains) > 0)

        def search_next(n, scores, ids):
            """Puts the answers of one more domain in their places."""
            where = tf.where(wanted & (asked == domains[n]))
            rows = tf.cast(where[:, 0], tf.int32)
            found, numbers = self._search(
                domains[n],
                tf.gather_nd(queries, where),
                tf.gather(history, rows),
                tf.gather(~known, rows),
                tf.gather(exclude_seen, rows),
                [tf.gather(part, rows) for part in votes],
                tf.gather(mixed, rows),
                tf.gather(log_domains, rows),
                tf.gather(allowed, rows),
                tf.gather(restricted, rows),
                tf.gather(denied, rows),
                width,
            )
            places = tf.stack([rows, tf.fill(tf.shape(rows), domains[n])], axis=1)
            return (
                n + 1,
                tf.tensor_scatter_nd_update(scores, places, found),
                tf.tensor_scatter_nd_update(ids, places, numbers),
            )

        # A loop, so that the graph is as large with a hundred domains as with one.
        shape = [batch, num_domains, width]
        _, scores, ids = tf.while_loop(
            lambda n, *_: n < tf.size(domains),
            search_next,
            (0, tf.fill(shape, MISSING), tf.zeros(shape, tf.int32)),
        )
        shape = [batch, num_domains * width]
        scores, ids = tf.reshape(scores, shape), tf.reshape(ids, shape)
        domains = tf.tile(tf.repeat(tf.range(num_domains), width)[None], [batch, 1])
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

    def _queries(self, history, known_items, domains, times=None, user_id=None):
        """Query vectors `[batch, queries, dim]`, and of whom anything is known, `[batch]`."""
        if self._users is None:
            vectors, known = self._query_vectors(history, domains, times), known_items > 0
        else:
            rows = self._users.lookup(user_id)
            vectors, known = self._user_vectors(tf.maximum(rows, 0), domains), rows >= 0
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
