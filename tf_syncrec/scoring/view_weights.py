"""Fits how much each of the two views counts, in each domain, on validation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import (
    CUT_OFF,
    Trials,
    rank_chunks,
    score_so_far,
    trials_of,
)
from tf_syncrec.metrics.gains import MISS, SELECTION_METRIC
from tf_syncrec.metrics.target_ranks import is_candidate, without
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
    state = "views", score_so_far(model)
    found = trials_of(validation, state, lambda users: _try(model, catalogue, users))
    if not len(found.gains):
        return
    chosen = best_of_domains(found.gains, found.domains, catalogue.num_domains)
    model.view_weights.single.assign(np.array(WEIGHTS, np.float32)[chosen])
    fitted = mean_gain(found.gains, found.domains, chosen)
    one, other = "the first network", "the second"
    if isinstance(model, SyNCRec):
        one, other = "the domain's own history", "the history of all domains"
    shares = [50 * WEIGHTS[c] for c in chosen]
    report(
        f"Score weight of {one} (the rest: {other}): "
        f"{listed(catalogue.domains, shares, ' %')}; validation {SELECTION_METRIC} {fitted:.4f}, "
        f"equal weights {found.gains[:, 0].mean():.4f}"
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

    def scores(asked, offset, size):
        of_views, votes = asked
        single, cross = (scorer.products(vectors, offset, size) for vectors in of_views)
        return single, cross, scorer.with_terms(tf.zeros_like(single), votes, offset)

    return rank_weights(validation, catalogue, WEIGHTS, ask, scores)


def rank_weights(
    batches: Batches,
    catalogue: Catalogue,
    weights: Sequence[float],
    ask: Callable[[Any], Any],
    scores: Callable[[Any, int, int], tuple[Any, Any, Any]],
) -> Trials:
    """Ranks the targets of a split by `w first + (2 - w) second + added`, as `rank_trials` would.

    Between w = 0 and w = 2 scores are linear: who is ahead of the target at both ends always is,
    and who is behind at both never. Only the others are looked at for each w, and nobody's where
    too many are always ahead.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        weights: w, from 0 to 2.
        ask: what the network says of a batch: tensors with a row a user, nested or not.
        scores: first, second and added, `[rows, size]` each; its arguments are some rows of what
            `ask` returned, and first item id and size of the domain.
    """

    def rank(said, items, excluded, targets, offset, size):
        parts = scores(said, offset, size)
        own, always, rows, undecided = _undecided(*parts, excluded, targets, offset)
        ranks = np.empty([len(targets), len(weights)])
        for trial, weight in enumerate(weights):
            at_least = _weighed(undecided, weight) >= tf.gather(_weighed(own, weight), rows)
            found = tf.math.unsorted_segment_sum(tf.cast(at_least, tf.int32), rows, len(targets))
            ranks[:, trial] = always + found
        ranks[always.numpy() >= CUT_OFF] = CUT_OFF + 1  # or more
        ranks[~is_candidate(targets, excluded).numpy()] = MISS
        return ranks

    return rank_chunks(batches, catalogue, len(weights), ask, rank)


def _weighed(parts, weight):
    first, second, added = parts
    return weight * first + (2.0 - weight) * second + added


@tf.function(
    autograph=False,
    input_signature=[
        *([tf.TensorSpec([None, None], tf.float32)] * 3),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
)
def _undecided(first, second, added, excluded, targets, offset):
    """What `rank_weights` looks at.

    Returns:
        The parts of the target's score, each `[rows]`; how many are ahead of it whatever w,
        `[rows]` int32; of those that may be or not, where less than `CUT_OFF` always are: rows
        and parts, each `[any]`. The target is one of them.
    """
    parts = first, second, added
    sums = [tf.debugging.check_numerics(tf.reduce_sum(p, axis=1), "scores") for p in parts]
    target = tf.maximum(targets - offset, 0)
    with tf.control_dependencies(sums):
        own = [tf.gather(part, target, batch_dims=1) for part in parts]
    # Many times what rounding can do to a score.
    largest = [tf.reduce_max(tf.abs(part), axis=1) for part in parts]
    margin = 1e-5 * tf.add_n(largest) + 1e-30
    ends = []
    for weight in (0.0, 2.0):
        scores = without(_weighed(parts, weight), excluded, offset)
        reached = _weighed(own, weight)
        ends.append((scores > (reached + margin)[:, None], scores >= (reached - margin)[:, None]))
    (ahead_first, near_first), (ahead_last, near_last) = ends
    ahead = ahead_first & ahead_last
    always = tf.math.count_nonzero(ahead, axis=1, dtype=tf.int32)
    places = tf.where((near_first | near_last) & ~ahead & (always < CUT_OFF)[:, None])
    undecided = [tf.gather_nd(part, places) for part in parts]
    return own, always, tf.cast(places[:, 0], tf.int32), undecided
