"""Item-kNN as strong as it gets: settings chosen on validation."""

import itertools
from collections.abc import Callable
from typing import Any

from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import similarities, user_items
from tf_syncrec.evaluation.full_ranking import rank_split
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.item_knn import HISTORIES, ItemKNN

GRID: dict[str, tuple] = {
    "history": HISTORIES,
    "shrinkage": (0.0, 5.0, 10.0, 20.0, 50.0),
    "decay": (1.0, 0.9, 0.8, 0.7, 0.6),
}
"""What `tune_item_knn` tries: every combination."""

NEIGHBOURS = 500
"""Similar items of each item and domain that tuning keeps: bounds memory, and loses nothing
measurable on data whose domains have some thousands of items."""


def tune_item_knn(
    prepared: Sequences,
    validation_batches,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[ItemKNN, list[dict[str, Any]]]:
    """Tries all of `GRID` and keeps what is best on validation, by `SELECTION_METRIC`.

    Args:
        prepared: the dataset.
        validation_batches: `data.batches.evaluation_batches` of its validation split.
        report: told one line a trial.

    Returns:
        The best scorer (of equals, the first tried), and one `{"history", "shrinkage", "decay",
        "neighbours", "validation": R}` a trial, in the order tried.
    """
    interactions, catalogue = user_items(prepared), prepared.catalogue
    best: ItemKNN | None = None
    highest = -1.0
    trials = []
    for shrinkage in GRID["shrinkage"]:
        matrices = similarities(interactions, catalogue, shrinkage, NEIGHBOURS)
        for history, decay in itertools.product(GRID["history"], GRID["decay"]):
            scorer = ItemKNN(matrices, catalogue, decay, history)
            ranks = rank_split(scorer, validation_batches, catalogue, with_rows=False)
            found = ranks.metrics(catalogue.domains)["overall"]
            settings = {"history": history, "shrinkage": shrinkage, "decay": decay}
            trials.append(settings | {"neighbours": NEIGHBOURS, "validation": found})
            report(
                f"item-kNN, history {history}, shrinkage {shrinkage:g}, decay {decay:g}: "
                f"validation {SELECTION_METRIC} {found[SELECTION_METRIC]:.4f}"
            )
            if found[SELECTION_METRIC] > highest:
                best, highest = scorer, found[SELECTION_METRIC]
    assert best is not None, "GRID has no combination"
    return best, trials
