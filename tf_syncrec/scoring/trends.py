"""Fits what being popular lately is worth, in each domain, on validation."""

from collections.abc import Callable

import numpy as np

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_trials, score_so_far, trials_of
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.choices import best_of_domains, mean_gain
from tf_syncrec.scoring.recent_popularity import HALF_LIVES
from tf_syncrec.utils.variables import fill

WEIGHTS = (0.1, 0.2, 0.4, 0.8)
"""What is tried for w, with each of `HALF_LIVES`."""

SMOOTHING = 0.1
"""So much of the domain's mean is added: who was not popular at all is not infinitely so."""


def fit_trend(
    model: MultiDomainModel,
    catalogue: Catalogue,
    counts: np.ndarray,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the gains of `model.trend`.

    Args:
        model: trained, with a trend.
        catalogue: items and domains of what it was trained on.
        counts: of `recent_popularity.decayed_counts`, `[HALF_LIVES, items]`.
        validation: from `data.batches.evaluation_batches`.
        report: told what it is worth.
    """
    assert model.trend is not None
    model.trend.reset()
    tried = _gains(counts, catalogue)
    state = "trend", score_so_far(model)
    found = trials_of(validation, state, lambda users: _try(model, catalogue, users, tried))
    chosen = best_of_domains(found.gains, found.domains, catalogue.num_domains)
    of_items = np.append(0, chosen[catalogue.item_domains])
    fill(model.trend.gain, tried[of_items, np.arange(len(of_items))])
    if len(found.gains):
        fitted = mean_gain(found.gains, found.domains, chosen)
        report(
            f"Recent popularity: validation {SELECTION_METRIC} {fitted:.4f}, without "
            f"{found.gains[:, 0].mean():.4f}"
        )


def _try(
    model: MultiDomainModel, catalogue: Catalogue, validation: Batches, tried: np.ndarray
) -> Trials:
    """The selection metric of each user with each of several G."""
    scorer = ModelScorer(model)
    scorer.refresh()

    def scores(queries, items, offset, size):
        others = scorer.scores(queries, offset, size)
        for trial, gains in enumerate(tried[:, offset : offset + size]):
            yield trial, others + gains

    return rank_trials(validation, catalogue, len(tried), scorer.queries, scores)


def _gains(counts: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """G of every trial, `[1 + HALF_LIVES * WEIGHTS, items + 1]` float32; of the first it is 0."""
    domains, sizes = catalogue.item_domains, np.maximum(catalogue.trained_sizes, 1)
    found = np.zeros([1 + len(HALF_LIVES) * len(WEIGHTS), 1 + len(domains)], np.float32)
    for row, each in enumerate(counts):
        means = np.bincount(domains, each, catalogue.num_domains) / sizes
        # Of a domain in which nothing was popular for long, all is alike.
        logs = np.log(each / np.maximum(means[domains], 1e-30) + SMOOTHING)
        for place, weight in enumerate(WEIGHTS, start=1 + row * len(WEIGHTS)):
            found[place, 1:] = weight * logs
    return found
