"""Fits all of a score that training does not set, in the one right order."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.evaluation.trials import FOLDS, Trials
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.view_weights import choose_weights, fit_view_weights, try_weights
from tf_syncrec.scoring.votes import best_trial, fit_neighbours, set_votes


def fit_score(
    model: MultiDomainModel,
    prepared: Sequences,
    validation: tf.data.Dataset,
    report: Callable[[str], None],
) -> float | None:
    """Sets all of a score that training does not: votes first, then the weights of the views.

    What was fitted on some users looks better on them than on others. So all is fitted once more on
    each part of the users and judged on the other part.

    Args:
        model: trained.
        prepared: what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.

    Returns:
        Validation NDCG@10 of users on whom nothing was fitted; None where nothing is fitted, or
        there are too few users.
    """
    catalogue = prepared.catalogue
    votes = fit_neighbours(model, prepared, validation, report)
    views = fit_view_weights(model, catalogue, validation, report)
    judged = _cross_fitted(model, catalogue, validation, votes, views)
    if judged is not None:
        report(f"Fitted on half of the users, {SELECTION_METRIC} of the others: {judged:.4f}")
    return judged


def _cross_fitted(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: tf.data.Dataset,
    votes: Trials | None,
    views: Trials | None,
) -> float | None:
    """Mean over users of what the choice of the other folds gives; the model stays as it is."""
    known = votes or views
    if known is None or len(np.unique(known.folds)) < FOLDS:
        return None
    gains = np.zeros(len(known.folds))
    shipped = 0 if votes is None else best_trial(votes.gains)
    # What the views find depends on the votes beside them.
    of_votes = {} if views is None else {shipped: views}
    for fold in range(FOLDS):
        judged, others = known.folds == fold, known.folds != fold
        best = shipped
        if votes is not None:
            best = best_trial(votes.gains[others])
            gains[judged] = votes.gains[judged, best]
        if views is not None:
            if best not in of_votes:
                set_votes(model, best)
                of_votes[best] = try_weights(model, catalogue, validation)
            tried = of_votes[best]
            chosen = choose_weights(
                tried.gains[others], tried.domains[others], catalogue.num_domains
            )
            gains[judged] = tried.gains[judged, chosen[tried.domains[judged]]]
    if votes is not None:
        set_votes(model, shipped)
    return float(gains.mean())
