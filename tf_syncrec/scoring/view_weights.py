"""Fits how much each of the two views counts, in each domain, on validation."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_trials
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring.choices import best_of_domains, listed, mean_gain

WEIGHTS = (1.0, 0.75, 1.25, 0.5, 1.5, 0.25, 1.75, 0.0, 2.0)
"""What is tried for the single view, of 2 that both views have; of equals, the nearest to 1."""


def fit_view_weights(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets `model.view_weights`; does nothing for a model that does not blend two scores.

    Args:
        model: trained, its votes fitted: what they say is no reason for either view.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    if model.view_weights is None:
        return
    found = _try(model, catalogue, validation)
    if not len(found.gains):
        return
    chosen = best_of_domains(found.gains, found.domains, catalogue.num_domains)
    model.view_weights.single.assign(np.array(WEIGHTS, np.float32)[chosen])
    fitted = mean_gain(found.gains, found.domains, chosen)
    one, other = "the first network", "the second"
    if isinstance(model, SyNCRec):
        one, other = "the domain's own history", "that of all domains"
    shares = [50 * WEIGHTS[c] for c in chosen]
    report(
        f"How much {one} counts, the rest is {other}: {listed(catalogue.domains, shares, ' %')}; "
        f"validation {SELECTION_METRIC} {fitted:.4f}, half and half {found.gains[:, 0].mean():.4f}"
    )


def view_weights(model: MultiDomainModel, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What each view counts, `{domain: {"single": w, "cross": 2 - w}}`; {} unless both blend."""
    if not isinstance(model, SyNCRec) or model.view_weights is None:
        return {}
    single, cross = model.view_weights(tf.range(len(names)))
    return {
        name: {"single": float(single[d]), "cross": float(cross[d])} for d, name in enumerate(names)
    }


def _try(model: MultiDomainModel, catalogue: Catalogue, validation: Batches) -> Trials:
    """The selection metric of each user with each of `WEIGHTS`, votes on top as they are."""
    scorer = ModelScorer(model)
    scorer.refresh()

    def ask(batch):
        return scorer.view_queries(batch), scorer.votes(batch)

    def scores(asked, items, offset, size):
        of_views, votes = asked
        single, cross = (scorer.products(vectors, offset, size) for vectors in of_views)
        added = scorer.with_terms(tf.zeros_like(single), votes, offset)
        for trial, weight in enumerate(WEIGHTS):
            yield trial, weight * single + (2.0 - weight) * cross + added

    return rank_trials(validation, catalogue, len(WEIGHTS), ask, scores)
