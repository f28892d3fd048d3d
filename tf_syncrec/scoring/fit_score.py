"""Fits all of a score that training does not set, in the one right order."""

from collections.abc import Callable

import numpy as np

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer, rank_split
from tf_syncrec.evaluation.trials import FOLDS, Folds
from tf_syncrec.metrics.gains import SELECTION_METRIC, user_gains
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.new_items.fitting import fit_new_items, share_of_later
from tf_syncrec.scoring.recent_popularity import decayed_counts
from tf_syncrec.scoring.repeats import count_returns, fit_repeats
from tf_syncrec.scoring.trends import fit_trend
from tf_syncrec.scoring.view_weights import fit_view_weights
from tf_syncrec.scoring.votes import count_neighbours, fit_votes


def fit_score(
    model: MultiDomainModel,
    prepared: Sequences,
    validation: Batches,
    report: Callable[[str], None],
    judge: bool = True,
) -> float | None:
    """Sets all of a score that training does not: what history items gain, votes, views.

    What was fitted on some users looks better on them than on others. So all is fitted on each part
    of the users and judged on the other part, before it is fitted on everybody.

    Args:
        model: trained.
        prepared: what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
        judge: whether to fit on parts of the users as well; what is fitted at last is the same.

    Returns:
        Validation NDCG@10 of users on whom nothing was fitted; None where nothing is fitted, or
        there are too few users, or `judge` is false.
    """
    if not model.voters and not model.trending and model.view_weights is None:
        return None
    count_returns(model, prepared)
    count_neighbours(model, prepared)
    trends = decayed_counts(prepared) if model.trending else None
    folds, later = Folds(validation), share_of_later(prepared)
    judged = None
    with model.at_rest():
        if judge:
            judged = _cross_fitted(model, prepared.catalogue, trends, later, folds)
        _fit(model, prepared.catalogue, trends, later, folds.only(), report)
    if judged is not None:
        report(f"Cross-fitted on halves of the validation users: {SELECTION_METRIC} {judged:.4f}")
    return judged


def _fit(
    model: MultiDomainModel,
    catalogue: Catalogue,
    trends: np.ndarray | None,
    later: float,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Each part with those before it; those after it say nothing yet."""
    for part in (*model.terms, model.view_weights):
        if part is not None:
            part.reset()
    fit_repeats(model, catalogue, validation, report)
    fit_votes(model, catalogue, validation, report)
    if trends is not None:
        fit_trend(model, catalogue, trends, validation, report)
    model.put_unknown_behind()
    fit_view_weights(model, catalogue, validation, report)
    # On the score as it will be: how far new items are behind depends on the weights of the views.
    fit_new_items(model, catalogue, later, validation, report)


def _cross_fitted(
    model: MultiDomainModel,
    catalogue: Catalogue,
    trends: np.ndarray | None,
    later: float,
    folds: Folds,
) -> float | None:
    """Mean over users of what is found with all that the other folds say."""
    parts = [folds.only(fold) for fold in range(FOLDS)]
    if any(next(iter(part), None) is None for part in parts):
        return None
    gains = []
    for fold, judged in enumerate(parts):
        others = folds.only(*(other for other in range(FOLDS) if other != fold))
        _fit(model, catalogue, trends, later, others, lambda line: None)
        ranks = rank_split(ModelScorer(model), judged, catalogue, with_rows=False).ranks
        gains.append(user_gains(ranks, SELECTION_METRIC))
    return float(np.concatenate(gains).mean())
