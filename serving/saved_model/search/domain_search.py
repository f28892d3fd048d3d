"""The best items of one domain for each of some users."""

import tensorflow as tf

from data_prep import Catalogue
from serving.saved_model.search.best import best
from serving.saved_model.search.index import ItemIndex, Scores
from serving.saved_model.search.rows import rows_of
from serving.saved_model.search.votes import with_votes
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.metrics.target_ranks import without

MISSING = float("-inf")
"""Score of a place that no item fills; such places leave as empty strings with score 0."""


class DomainSearch(tf.Module):
    """Search in one domain: by vectors, with votes, without the history, or by popularity.

    Args:
        catalogue: items, the most popular of each domain first, and the rule of each domain whether
            items of the history may come back where a request does not say it.
        vectors: `[items, dim]` float32 candidate vectors.
        mixture: how scores of different domains compare.
        index: how items are searched, one of `serving.saved_model.INDEXES`.
        scores: how queries and vectors become scores; None: by dot products.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        vectors,
        mixture: DomainMixture,
        index: str,
        scores: Scores | None = None,
    ):
        super().__init__(name="domain_search")
        self._index = ItemIndex(vectors, catalogue.sizes.tolist(), index, scores)
        self._counts = tf.Variable(catalogue.counts.astype("float32"), trainable=False)
        self._repeats = tf.constant(catalogue.repeats)
        self._log_totals, self._mixed = mixture.log_totals, mixture.call

    def __call__(
        self,
        domain,
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
            domain: scalar int32, one that has items.
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
        exclude_seen = tf.where(exclude_seen < 0, ~self._repeats[domain], exclude_seen > 0)
        offset, size = self._index.offset(domain), self._index.size(domain)
        # Enough to be left with `width` after the history and what is denied are taken out.
        out = tf.shape(history)[1] + tf.shape(denied)[1]
        count = tf.minimum(size, width + out)
        scores, ids = self._index(queries, domain, count)
        popular = offset + tf.range(count)
        ids = tf.where(fallback[:, None], popular[None], ids)
        scores = tf.where(fallback[:, None], rows_of(self._counts, popular - 1)[None], scores)
        if votes:
            voted, numbers = votes
            ours = (voted >= offset) & (voted < offset + size)
            scores, ids = with_votes(
                scores,
                ids,
                # Nobody votes where popularity answers.
                tf.where(ours & ~fallback[:, None], voted, 0),
                numbers,
                lambda items: self._index.scores_of(queries, items),
            )
        scores, ids = self._among_allowed(
            domain, scores, ids, queries, fallback, votes, allowed, restricted, count
        )
        scores = self._among_all(
            domain, scores, queries, history, exclude_seen, votes, every & ~fallback, log_domains
        )
        no_answer = (_contains(history, ids) & exclude_seen[:, None]) | _contains(denied, ids)
        scores = tf.where(no_answer, MISSING, scores)

        scores = tf.pad(scores, [[0, 0], [0, width]], constant_values=MISSING)
        ids = tf.pad(ids, [[0, 0], [0, width]])
        scores, best = tf.math.top_k(scores, k=width)
        return scores, tf.gather(ids, best, batch_dims=1)

    def _of_all(self, domain, queries, votes, where):
        """Scores of all items of the domain, votes included, of some rows: `[rows, size]`."""
        scores = self._index.scores(tf.gather(queries, where), domain)
        if votes:
            voted, numbers = (tf.gather(part, where) for part in votes)
            scores = add_votes(scores, voted, numbers, self._index.offset(domain))
        return scores

    def _among_allowed(
        self, domain, scores, ids, queries, fallback, votes, allowed, restricted, count
    ):
        """The best of those that are allowed, in place of the best of all: `[rows, any]`."""
        offset, size = self._index.offset(domain), self._index.size(domain)
        where = tf.where(restricted)[:, 0]  # as these alone have to look at all items
        allowed, popular = tf.gather(allowed, where), tf.gather(fallback, where)
        rows = tf.shape(where)[0]
        counts = self._counts[offset - 1 : offset - 1 + size]
        of_all = self._of_all(domain, queries, votes, where)
        of_all = tf.where(popular[:, None], counts[None], of_all)
        ours = (allowed >= offset) & (allowed < offset + size)
        row = tf.tile(tf.range(rows)[:, None], [1, tf.shape(allowed)[1]])
        places = tf.boolean_mask(tf.stack([row, allowed - offset], axis=-1), ours)
        may = tf.scatter_nd(places, tf.ones_like(places[:, 0]), [rows, size]) > 0
        found, places = best(tf.where(may, of_all, MISSING), count)
        rest = tf.shape(ids)[1] - count  # places of items that had votes
        found = tf.pad(found, [[0, 0], [0, rest]], constant_values=MISSING)
        places = tf.pad(offset + places, [[0, 0], [0, rest]])
        return (
            tf.tensor_scatter_nd_update(scores, where[:, None], found),
            tf.tensor_scatter_nd_update(ids, where[:, None], places),
        )

    def _among_all(self, domain, scores, queries, history, exclude_seen, votes, every, log_domains):
        """Scores, or log-probabilities over the items of all domains: `[rows, any]`."""
        where = tf.where(every)[:, 0]  # as these alone have to look at all items
        of_all = self._of_all(domain, queries, votes, where)
        seen = tf.gather(tf.where(exclude_seen[:, None], history, 0), where)
        totals = self._log_totals(without(of_all, seen, self._index.offset(domain)), domain)
        mixed = self._mixed(tf.gather(scores, where), tf.gather(log_domains, where), totals, domain)
        return tf.tensor_scatter_nd_update(scores, where[:, None], mixed)


def _contains(history, ids):
    """Which of `ids` stand in the history of their row."""
    # Padded with what no id reaches: a place to point at, and never a search in nothing, which
    # `searchsorted` refuses.
    ordered = tf.pad(tf.sort(history, axis=1), [[0, 0], [0, 1]], constant_values=history.dtype.max)
    place = tf.searchsorted(ordered, ids)
    return tf.gather(ordered, place, batch_dims=1) == ids
