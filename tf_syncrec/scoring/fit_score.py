"""Fits all of a score that training does not set, in the one right order."""

from collections.abc import Callable

import tensorflow as tf

from tf_syncrec.data.batches import Sequences
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.view_weights import fit_view_weights
from tf_syncrec.scoring.votes import fit_neighbours


def fit_score(
    model: MultiDomainModel,
    prepared: Sequences,
    validation: tf.data.Dataset,
    report: Callable[[str], None],
) -> None:
    """Sets all of a score that training does not: votes first, then the weights of the views.

    Args:
        model: trained.
        prepared: what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    fit_neighbours(model, prepared, validation, report)
    fit_view_weights(model, prepared.catalogue, validation, report)
