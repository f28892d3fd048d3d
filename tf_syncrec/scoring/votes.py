"""Fits the votes of neighbours: lists by counting or likeness, weight and decay on validation."""

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import likenesses, similarities, user_items
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_votes
from tf_syncrec.layers import ItemNeighbours
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.folds import score_so_far, trials_of

SHRINKAGE = 10.0
"""Takes from similarities that few users support; what tuned item-kNN has as well."""

WEIGHTS = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0)
LIKENESS_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)
DECAYS = (0.5, 0.7, 0.9)
"""Weights and decays that are tried on validation; with the first ones nobody votes. Similarities
by attributes are larger than those by users."""


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


def like_lists(
    attributes: sparse.csr_array, catalogue: Catalogue, count: int, cold: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The items that are most like each item by their attributes.

    Args:
        attributes: `[items + 1, attributes]`, shares.
        catalogue: items and domains.
        count: length of the lists.
        cold: whether items without training interactions are listed, or all others.

    Returns:
        As `neighbour_lists`.
    """
    listed = np.append(False, (catalogue.counts == 0) == cold)
    return _lists(likenesses(attributes, catalogue, count, listed), count)


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
    """Sets the lists of all that votes for neighbours; does nothing where a model asks for nothing.

    Args:
        model: trained.
        prepared: what it was trained on.
    """
    if model.neighbours is not None:
        model.neighbours.set_lists(*neighbour_lists(prepared, model.neighbours.count))
    count_like_items(model, prepared.catalogue)


def count_like_items(model: MultiDomainModel, catalogue: Catalogue) -> None:
    """Sets the lists of those that vote by attributes.

    Args:
        model: a trained one.
        catalogue: its items.
    """
    attributes = model.embedding.attributes
    if attributes is None:
        return
    for layer, cold in ((model.likeness, False), (model.new_items, True)):
        if layer is not None:
            layer.set_lists(*like_lists(attributes.matrix(), catalogue, layer.count, cold))


def fit_votes(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets weight and decay of `model.neighbours` and `model.likeness`, where there are such.

    They are those with the best validation metric, of equals the first tried, so the weight is 0
    where counting has nothing to add.

    Args:
        model: trained, its neighbours counted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    for layer, weights, whose in (
        (model.neighbours, WEIGHTS, "neighbours"),
        (model.likeness, LIKENESS_WEIGHTS, "items with like attributes"),
    ):
        if layer is None:
            continue
        layer.reset()
        state = layer.name, score_so_far(model)
        rank = functools.partial(_try, model, layer, weights, catalogue)
        gains = trials_of(validation, state, rank).gains
        best = int(np.argmax(gains.sum(axis=0)))
        weight, decay = list(itertools.product(weights, DECAYS))[best]
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
    weights: Sequence[float],
    catalogue: Catalogue,
    validation: Batches,
) -> Trials:
    """The selection metric of each user with each of some weights and of `DECAYS`."""
    scorer = ModelScorer(model)
    scorer.refresh()

    def votes(items):
        for decay in DECAYS:  # one after the other, as each takes as much memory as the scores
            yield layer.votes(items, decay)

    return rank_votes(
        validation, catalogue, weights, len(DECAYS), scorer.queries, scorer.scores, votes
    )
