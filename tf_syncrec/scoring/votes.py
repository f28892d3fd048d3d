"""Fits the votes of neighbours: lists by counting or likeness, weight and decay on validation."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sparse
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import likenesses, similarities, user_items
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_trials
from tf_syncrec.layers import ItemNeighbours
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.utils.variables import fill

SHRINKAGE = 10.0
"""Takes from similarities that few users support; what tuned item-kNN has as well."""

WEIGHTS = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0)
DECAYS = (0.5, 0.7, 0.9)
TRIED = tuple(itertools.product(WEIGHTS, DECAYS))
"""Weights and decays that are tried on validation; with the first ones nobody votes."""

LIKENESS_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
TRIED_LIKENESS = tuple(itertools.product(LIKENESS_WEIGHTS, DECAYS))
"""The same of items with like attributes, whose similarities are larger."""


def neighbour_lists(prepared: Sequences, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar items of each item, of whatever domain, by their training users.

    Args:
        prepared: dataset with a `train` split.
        count: length of the lists.

    Returns:
        Ids and similarities, `[items + 1, count]` int32 and float32, the most similar first (of
        equals, the one with the lower id), filled up with 0.
    """
    catalogue = prepared.catalogue
    return _lists(similarities(user_items(prepared), catalogue, SHRINKAGE, count), count)


def _lists(of_domains: list[sparse.csr_array], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar items of each, whatever their domain."""
    found = sparse.hstack(of_domains, format="coo")
    item, other = found.coords
    order = np.lexsort((other, -found.data, item))
    item, other, value = item[order], other[order] + 1, found.data[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)
    kept = place < count
    shape = (found.shape[0], count)
    ids, values = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    ids[item[kept], place[kept]] = other[kept]
    values[item[kept], place[kept]] = value[kept]
    return ids, values


def count_neighbours(model: MultiDomainModel, prepared: Sequences) -> None:
    """Sets the lists of `model.neighbours` and `model.likeness`, of those that there are.

    Args:
        model: trained.
        prepared: what it was trained on.
    """
    if model.neighbours is not None:
        _set(model.neighbours, neighbour_lists(prepared, model.neighbours.count))
    count_like_items(model, prepared.catalogue)


def count_like_items(model: MultiDomainModel, catalogue: Catalogue) -> None:
    """Sets the lists of `model.likeness`, if there is one.

    Args:
        model: with attributes of items.
        catalogue: its items.
    """
    attributes = model.embedding.attributes
    if model.likeness is not None and attributes is not None:
        of_domains = likenesses(attributes.matrix(), catalogue, model.likeness.count)
        _set(model.likeness, _lists(of_domains, model.likeness.count))


def _set(layer: ItemNeighbours, lists: tuple[np.ndarray, np.ndarray]) -> None:
    fill(layer.others, lists[0])
    fill(layer.similarities, lists[1])


def fit_votes(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets weight and decay of `model.neighbours` and `model.likeness`, of those that there are.

    They are those with the best validation metric, of equals the first tried, so the weight is 0
    where counting has nothing to add.

    Args:
        model: trained, its neighbours counted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    for layer, tried, whose in (
        (model.neighbours, TRIED, "neighbours"),
        (model.likeness, TRIED_LIKENESS, "items with like attributes"),
    ):
        if layer is None:
            continue
        layer.reset()
        gains = _try(model, layer, tried, catalogue, validation).gains
        best = int(np.argmax(gains.sum(axis=0)))
        weight, decay = tried[best]
        layer.weight.assign(weight)
        layer.decay.assign(decay)
        of_best, without = gains[:, [best, 0]].mean(axis=0) if len(gains) else (0.0, 0.0)
        report(
            f"Votes of {layer.count} {whose}: weight {weight:g}, decay {decay:g}; "
            f"validation {SELECTION_METRIC} {of_best:.4f}, without {without:.4f}"
        )


def _try(
    model: MultiDomainModel,
    layer: ItemNeighbours,
    tried: Sequence[tuple[float, float]],
    catalogue: Catalogue,
    validation: Batches,
) -> Trials:
    """The selection metric of each user with each of the weights and decays that are `tried`."""
    scorer = ModelScorer(model)
    scorer.refresh()

    def scores(said, items, offset, size):
        of_network = scorer.scores(said, offset, size)
        for decay in DECAYS:  # one after the other, as each takes as much memory as the scores
            ids, of_history = layer.votes(items, decay)
            votes = add_votes(tf.zeros_like(of_network), ids, of_history, offset)
            for trial, (weight, trial_decay) in enumerate(tried):
                if trial_decay == decay:
                    yield trial, of_network + weight * votes

    return rank_trials(validation, catalogue, len(tried), scorer.queries, scores)
