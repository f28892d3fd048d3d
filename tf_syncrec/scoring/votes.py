"""Fits the votes of neighbours: lists by counting, weight and decay on validation."""

import itertools
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import similarities, user_items
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import Trials, rank_votes
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.folds import score_so_far, trials_of
from tf_syncrec.utils.variables import fill

SHRINKAGE = 10.0
"""Takes from similarities that few users support; what tuned item-kNN has as well."""

WEIGHTS = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0)
DECAYS = (0.5, 0.7, 0.9)
TRIED = tuple(itertools.product(WEIGHTS, DECAYS))
"""Weights and decays that are tried on validation; with the first ones nobody votes."""


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
    of_domains = similarities(user_items(prepared), catalogue, SHRINKAGE, count)
    found = sparse.hstack(of_domains, format="csr", dtype=np.float32)
    found.sort_indices()
    item = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    # One number a place, which falls with the similarity: a third of the time of sorting by both.
    keys = (item.astype(np.uint64) << 32) | (0xFFFFFFFF - found.data.view(np.uint32))
    order = np.argsort(keys, kind="stable")
    item, other, value = item[order], found.indices[order] + 1, found.data[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)
    kept = place < count
    shape = (catalogue.num_items + 1, count)
    ids, values = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    ids[item[kept], place[kept]] = other[kept]
    values[item[kept], place[kept]] = value[kept]
    return ids, values


def count_neighbours(model: MultiDomainModel, prepared: Sequences) -> None:
    """Sets the lists of `model.neighbours`; does nothing where it asks for nothing.

    Args:
        model: trained.
        prepared: what it was trained on.
    """
    if model.neighbours is not None:
        ids, values = neighbour_lists(prepared, model.neighbours.count)
        fill(model.neighbours.others, ids)
        fill(model.neighbours.similarities, values)


def fit_votes(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets weight and decay of `model.neighbours`; does nothing where it asks for nothing.

    They are those with the best validation metric, of equals the first tried, so the weight is 0
    where counting has nothing to add.

    Args:
        model: trained, its neighbours counted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    layer = model.neighbours
    if layer is None:
        return
    layer.reset()
    state = "votes", score_so_far(model)
    gains = trials_of(validation, state, lambda users: _try(model, catalogue, users)).gains
    best = int(np.argmax(gains.sum(axis=0)))
    weight, decay = TRIED[best]
    layer.weight.assign(weight)
    layer.decay.assign(decay)
    of_best, without = gains[:, [best, 0]].mean(axis=0) if len(gains) else (0.0, 0.0)
    report(
        f"Votes of {layer.count} neighbours: weight {weight:g}, decay {decay:g}; "
        f"validation {SELECTION_METRIC} {of_best:.4f}, without {without:.4f}"
    )


def _try(model: MultiDomainModel, catalogue: Catalogue, validation: Batches) -> Trials:
    """The selection metric of each user with each of `TRIED`."""
    scorer, layer = ModelScorer(model), model.neighbours
    assert layer is not None
    scorer.refresh()

    def votes(items):
        for decay in DECAYS:  # one after the other, as each takes as much memory as the scores
            yield layer.votes(items, decay)

    return rank_votes(
        validation, catalogue, WEIGHTS, len(DECAYS), scorer.queries, scorer.scores, votes
    )
