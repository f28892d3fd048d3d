"""One's own favourites: what a user uses most and used last, then what everybody does."""

from collections.abc import Callable

import numpy as np

from tf_syncrec.data.batches import Sequences
from tf_syncrec.evaluation.full_ranking import Batches, PopularityScorer, Scorer, times_of
from tf_syncrec.layers import RepeatConsumption
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.scoring.repeats import fit_weights, log_returns


class PersonalScorer(Scorer):
    """Ranks the items of a history by `layers.RepeatConsumption`, on top of popularity.

    No network, and the same term that the networks have: what they add to it is what is learned.
    Where nobody comes back it is popularity.

    Args:
        popularity: what everybody does.
        repeats: fitted on top of it.
        told: what it is told of times, see `full_ranking.times_of`.
    """

    def __init__(
        self, popularity: PopularityScorer, repeats: RepeatConsumption, told: str | None = None
    ):
        self._popularity, self._repeats, self._told = popularity, repeats, told

    def told(self, told: str) -> "PersonalScorer":
        """The same one, told of times."""
        return PersonalScorer(self._popularity, self._repeats, told)

    def queries(self, batch):
        """Those of popularity, and what each item of the history gains."""
        times = times_of(batch, self._told)
        return self._popularity.queries(batch), *self._repeats(batch["items"], *times)

    def scores(self, queries, offset, size):
        """The sum of both."""
        of_all, ids, gains = queries
        return add_votes(self._popularity.scores(of_all, offset, size), ids, gains, offset)


def fit_personal(
    prepared: Sequences, validation: Batches, report: Callable[[str], None] = lambda line: None
) -> PersonalScorer:
    """Makes the scorer from training rows, and fits it on validation.

    Args:
        prepared: the dataset.
        validation: `data.batches.evaluation_batches` of its validation split.
        report: told what it is worth.
    """
    catalogue = prepared.catalogue
    repeats = RepeatConsumption(catalogue.sizes)
    # Its logarithm is what a likelihood can be made of; an item that nobody had stands behind all.
    popularity = PopularityScorer(np.log(np.maximum(catalogue.counts, 0.5)))
    repeats.build()
    repeats.log_returns.assign(log_returns(prepared))
    fit_weights(repeats, [popularity], catalogue, validation, report)
    return PersonalScorer(popularity, repeats)
