"""Fits what an item is worth that nobody had in training, on validation."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_trials, score_so_far, trials_of
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.layers.score_terms.popularity_trend import BEHIND
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.utils.variables import as_array, fill

DECAY = 0.9
"""Of the votes of older interactions: who likes a brand likes it for long."""

WEIGHTS = (0.0, 2.0, 4.0, 8.0, 16.0)
GAINS = (-4.0, -2.0, -1.0, 0.0, 1.0)
TRIED = tuple(itertools.product(WEIGHTS, GAINS))
"""Weights of votes and what is added to the score, that are tried on validation."""

LATER = 3.0
"""How many times more new items those have who are asked after validation, under `global_time`.

The share of new items grows from none with the time since training. If validation is as long as
what comes after it, then it is on average half of what it is at the end of validation, and
afterwards one and a half times as much.
"""

SPENT = 0.05
"""Share of their metric that known targets may lose to new ones.

Attributes make the network itself better at known items: the default by a fifth and SASRec by a
twentieth where we trained them without as well (docs/items.md). One training cannot tell, so as
much is lent here, of all domains together: in one alone the targets of validation are too few.
"""


def share_of_later(prepared: Any) -> float:
    """How many times more new items a model will meet than validation has.

    Args:
        prepared: a `PreparedDataset`, or as much of it as says how it was split.
    """
    settings = getattr(prepared, "settings", None)
    return LATER if settings is not None and settings.split == "global_time" else 1.0


def fit_new_items(
    model: MultiDomainModel,
    catalogue: Catalogue,
    later: float,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the weight of `model.new_items`, and what new items gain; nothing without such.

    They are those with the best metric where a new target counts `later` times, among those with
    which other targets lose no more than `SPENT` of what they have if there are neither new items
    nor votes by likeness: what attributes bring to known items may be spent on new ones.

    Args:
        model: trained, all else of its score fitted.
        catalogue: items and domains of what it was trained on.
        later: of `share_of_later`.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    layer, gain = model.new_items, model.trend
    if layer is None or gain is None or not catalogue.cold.any():
        return
    new = np.concatenate(
        [np.zeros(0, bool), *(catalogue.cold[batch["target"].numpy()] for batch in validation)]
    )
    least = (1.0 - SPENT) * _without_attributes(model, catalogue, validation)[~new].sum()
    state = "new items", score_so_far(model)
    found = trials_of(validation, state, lambda users: _try(model, catalogue, users)).gains
    known = found[~new].sum(axis=0)
    worth = known + later * found[new].sum(axis=0)
    best = int(np.argmax(np.where(known >= least, worth, -1)))
    affordable = (known >= least).any()
    weight, added = TRIED[best] if affordable else (0.0, BEHIND)
    layer.weight.assign(weight)
    layer.decay.assign(DECAY)
    fill(gain.gain, as_array(gain.gain) + np.float32(added) * catalogue.cold)
    if not affordable:
        report(
            "Cold-start items: not recommended, since every weight tried costs known targets "
            "more than attributes gain them"
        )
    elif len(found):
        means = [float(found[who, best].mean()) if who.any() else 0.0 for who in (~new, new)]
        report(
            f"Cold-start items: votes of {layer.count}, weight {weight:g}, offset {added:g}; "
            f"validation {SELECTION_METRIC} of known targets {means[0]:.4f}, of new ones "
            f"{means[1]:.4f}"
        )


def _without_attributes(
    model: MultiDomainModel, catalogue: Catalogue, validation: Batches
) -> np.ndarray:
    """The selection metric of each user without new items and votes by likeness."""
    assert model.trend is not None
    weight = 0.0 if model.likeness is None else float(model.likeness.weight)
    if model.likeness is not None:
        model.likeness.weight.assign(0.0)
    out = tf.constant(BEHIND * catalogue.cold, tf.float32)

    def rank(users: Batches) -> Trials:
        scorer = ModelScorer(model)
        scorer.refresh()

        def scores(said, items, offset, size):
            yield 0, scorer.scores(said, offset, size) + out[offset : offset + size]

        return rank_trials(users, catalogue, 1, scorer.queries, scores)

    found = trials_of(validation, ("without attributes", score_so_far(model)), rank)
    if model.likeness is not None:
        model.likeness.weight.assign(weight)
    return found.gains[:, 0]


def _try(model: MultiDomainModel, catalogue: Catalogue, validation: Batches) -> Trials:
    """The selection metric of each user with each of `TRIED`."""
    scorer, layer = ModelScorer(model), model.new_items
    assert layer is not None
    scorer.refresh()
    cold = tf.constant(catalogue.cold, tf.float32)

    def scores(said, items, offset, size):
        others = scorer.scores(said, offset, size)
        ids, of_history = layer.votes(items, DECAY)
        votes = add_votes(tf.zeros_like(others), ids, of_history, offset)
        for trial, (weight, added) in enumerate(TRIED):
            yield trial, others + weight * votes + added * cold[offset : offset + size]

    return rank_trials(validation, catalogue, len(TRIED), scorer.queries, scores)
