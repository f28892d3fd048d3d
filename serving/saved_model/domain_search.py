"""The best items of one domain for each of some users."""

import tensorflow as tf

from serving.saved_model.index import Scores, best, domain_index
from serving.saved_model.votes import with_votes
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.metrics.target_ranks import without

MISSING = float("-inf")
"""Score of a place that no item fills; such places leave as empty strings with score 0."""


class DomainSearch(tf.Module):
    """Search in one domain: by vectors, with votes, without the history, or by popularity.

    Args:
        domain: which.
        offset: first item id of the domain; its ids are contiguous, the most popular first.
        counts: `[size]` float32, training interactions of its items.
        candidate_vectors: item ids of any shape -> `[..., dim]` float32.
        candidate_scores: query and candidate vectors -> scores, as of a network.
        mixture: how scores of different domains compare.
        index: how items are searched, one of `serving.saved_model.index.INDEXES`.
        repeats: whether items of the history may come back where a request does not say it.
    """

    def __init__(
        self,
        domain: int,
        offset: int,
        counts,
        candidate_vectors,
        candidate_scores: Scores,
        mixture: DomainMixture,
        index: str,
        repeats: bool,
    ):
        super().__init__(name="domain_search")
        self._domain, self._offset, self._size = domain, offset, len(counts)
        self._candidate_vectors, self._scores = candidate_vectors, candidate_scores
        self._repeats = repeats
        self._log_totals, self._mixed = mixture.log_totals, mixture.call
        if self._size:
            ids = tf.range(offset, offset + self._size)
            self._index = domain_index(candidate_vectors(ids), offset, index, self._scores)
            self._counts = tf.Variable(counts, trainable=False, name="counts")

    def __call__(
        self,
        queries,
        history,
        fallback,
        exclude_seen,
        votes,
        every,
        log_domains,
        allowed,
        restricted,
        denied,
        width,
    ):
        """Best items of each row.

        Args:
            queries: `[rows, dim]`.
            history: `[rows, any]` item ids, 0 is none.
            fallback: `[rows]` bool, where popularity answers.
            exclude_seen: `[rows]` int32, whether items of the history may not come back; below 0
                as the domain has it.
            votes: `(item ids, votes)`, each `[rows, any]`, or nothing.
            every: `[rows]` bool, where the answer is one of every domain: scores are then
                log-probabilities of the mixture; but not where popularity answers.
            log_domains: `[rows, domains]`, of the mixture.
            allowed: `[rows, any]` item ids, 0 is none.
            restricted: `[rows]` bool, whether the answer is to be among those that are allowed.
            denied: `[rows, any]` item ids that are no answer, 0 is none.
            width: places.

        Returns:
            Scores and item ids, `[rows, width]`, best first, then `MISSING` and 0.
        """
        rows = tf.shape(queries)[0]
        exclude_seen = tf.where(exclude_seen < 0, not self._repeats, exclude_seen > 0)
        if not self._size:
            return tf.fill([rows, width], MISSING), tf.zeros([rows, width], tf.int32)
        # Enough to be left with `width` after the history and what is denied are taken out.
        out = tf.shape(history)[1] + tf.shape(denied)[1]
        count = tf.minimum(self._size, width + out)
        scores, ids = self._index(queries, k=count)
        popular = tf.range(count)
        ids = tf.where(fallback[:, None], self._offset + popular[None], ids)
        scores = tf.where(fallback[:, None], tf.gather(self._counts, popular)[None], scores)
        if votes:
            voted, numbers = votes
            ours = (voted >= self._offset) & (voted < self._offset + self._size)
            scores, ids = with_votes(
                scores,
                ids,
                # Nobody votes where popularity answers.
                tf.where(ours & ~fallback[:, None], voted, 0),
                numbers,
                lambda items: self._scores(queries, self._candidate_vectors(items)),
            )
        scores, ids = self._among_allowed(
            scores, ids, queries, fallback, votes, allowed, restricted, count
        )
        scores = self._among_all(
            scores, queries, history, exclude_seen, votes, every & ~fallback, log_domains
        )
        no_answer = (_contains(history, ids) & exclude_seen[:, None]) | _contains(denied, ids)
        scores = tf.where(no_answer, MISSING, scores)

        scores = tf.pad(scores, [[0, 0], [0, width]], constant_values=MISSING)
        ids = tf.pad(ids, [[0, 0], [0, width]])
        scores, best = tf.math.top_k(scores, k=width)
        return scores, tf.gather(ids, best, batch_dims=1)

    def _among_allowed(self, scores, ids, queries, fallback, votes, allowed, restricted, count):
        """The best of those that are allowed, in place of the best of all: `[rows, any]`."""
        where = tf.where(restricted)[:, 0]  # as these alone have to look at all items
        allowed, popular = tf.gather(allowed, where), tf.gather(fallback, where)
        rows = tf.shape(where)[0]
        of_all = self._scores(tf.gather(queries, where), self._index.candidates)
        if votes:
            voted, numbers = (tf.gather(part, where) for part in votes)
            of_all = add_votes(of_all, voted, numbers, self._offset)
        of_all = tf.where(popular[:, None], self._counts[None], of_all)
        ours = (allowed >= self._offset) & (allowed < self._offset + self._size)
        row = tf.tile(tf.range(rows)[:, None], [1, tf.shape(allowed)[1]])
        places = tf.boolean_mask(tf.stack([row, allowed - self._offset], axis=-1), ours)
        may = tf.scatter_nd(places, tf.ones_like(places[:, 0]), [rows, self._size]) > 0
        found, places = best(tf.where(may, of_all, MISSING), count)
        rest = tf.shape(ids)[1] - count  # places of items that had votes
        found = tf.pad(found, [[0, 0], [0, rest]], constant_values=MISSING)
        places = tf.pad(self._offset + places, [[0, 0], [0, rest]])
        return (
            tf.tensor_scatter_nd_update(scores, where[:, None], found),
            tf.tensor_scatter_nd_update(ids, where[:, None], places),
        )

    def _among_all(self, scores, queries, history, exclude_seen, votes, every, log_domains):
        """Scores, or log-probabilities over the items of all domains: `[rows, any]`."""
        where = tf.where(every)[:, 0]  # as these alone have to look at all items
        of_all = self._scores(tf.gather(queries, where), self._index.candidates)
        if votes:
            voted, numbers = (tf.gather(part, where) for part in votes)
            of_all = add_votes(of_all, voted, numbers, self._offset)
        seen = tf.gather(tf.where(exclude_seen[:, None], history, 0), where)
        totals = self._log_totals(without(of_all, seen, self._offset), self._domain)
        mixed = self._mixed(
            tf.gather(scores, where), tf.gather(log_domains, where), totals, self._domain
        )
        return tf.tensor_scatter_nd_update(scores, where[:, None], mixed)


def _contains(history, ids):
    """Which of `ids` stand in the history of their row."""
    # Padded with what no id reaches: a place to point at, and never a search in nothing, which
    # `searchsorted` refuses.
    ordered = tf.pad(tf.sort(history, axis=1), [[0, 0], [0, 1]], constant_values=history.dtype.max)
    place = tf.searchsorted(ordered, ids)
    return tf.gather(ordered, place, batch_dims=1) == ids
