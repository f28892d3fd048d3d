"""Item-kNN and user-kNN, as strong as they get: settings chosen on validation."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import scipy.sparse as sparse

from data_prep import InputError
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_attributes import load
from tf_syncrec.data.item_similarity import (
    likenesses,
    similarities,
    training_histories,
    user_items,
)
from tf_syncrec.evaluation.full_ranking import Ranks, Scorer, rank_split
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.baselines.item_knn import HISTORIES, ItemKNN
from tf_syncrec.models.baselines.user_knn import UserKNN

KNN = TypeVar("KNN", ItemKNN, UserKNN)

GRID: dict[str, tuple] = {
    "history": HISTORIES,
    "shrinkage": (0.0, 5.0, 10.0, 20.0, 50.0),
    "decay": (1.0, 0.9, 0.8, 0.7, 0.6),
}
"""What `tune_item_knn` tries: every combination."""

USER_GRID: dict[str, tuple] = {
    "neighbours": (50, 100, 200),
    "backward": (0.0, 0.2, 0.4, 0.7, 1.0),
}
"""What `tune_user_knn` tries, likewise."""

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
    matrices = (
        ({"shrinkage": shrinkage}, similarities(interactions, catalogue, shrinkage, NEIGHBOURS))
        for shrinkage in GRID["shrinkage"]
    )
    return _tune("item-kNN", matrices, prepared, validation_batches, report)


def tune_content_knn(
    prepared: Sequences,
    validation_batches,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[ItemKNN, list[dict[str, Any]]]:
    """The same with likeness of attributes in place of common users: what these alone can do.

    Args:
        prepared: the dataset, with an items file.
        validation_batches: as of `tune_item_knn`.
        report: likewise.

    Returns:
        As `tune_item_knn`.

    Raises:
        InputError: there is no items file.
    """
    attributes = load(prepared)
    if attributes is None:
        raise InputError("--models content_knn: needs --items FILE, which says what items are")
    matrices: list = [({}, likenesses(attributes.compared(), prepared.catalogue, NEIGHBOURS))]
    return _tune("content-kNN", matrices, prepared, validation_batches, report)


def tune_user_knn(
    prepared: Sequences,
    validation_batches,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[UserKNN, list[dict[str, Any]]]:
    """Tries all of `USER_GRID`, as `tune_item_knn` does its own; the settings are named there."""
    histories, catalogue = training_histories(prepared), prepared.catalogue

    def groups():
        for count in USER_GRID["neighbours"]:
            scorer = UserKNN(histories, catalogue, count, 0.0)
            yield [
                ({"neighbours": count, "backward": backward}, scorer.with_backward(backward))
                for backward in USER_GRID["backward"]
            ]

    return _best("user-kNN", groups(), prepared, validation_batches, report)


def _tune(
    what: str,
    matrices: Iterable[tuple[dict[str, float], list[sparse.csr_array]]],
    prepared: Sequences,
    validation_batches,
    report: Callable[[str], None],
) -> tuple[ItemKNN, list[dict[str, Any]]]:
    """The best on validation of all histories and decays, with each of some similarities."""

    def groups():
        for found_with, matrix in matrices:
            for history in GRID["history"]:
                yield [
                    (
                        {"history": history} | found_with | {"decay": decay},
                        ItemKNN(matrix, prepared.catalogue, decay, history),
                    )
                    for decay in GRID["decay"]
                ]

    best, trials = _best(what, groups(), prepared, validation_batches, report)
    return best, [{"neighbours": NEIGHBOURS} | trial for trial in trials]


def _best(
    what: str,
    groups: Iterable[Sequence[tuple[dict[str, Any], KNN]]],
    prepared: Sequences,
    validation_batches,
    report: Callable[[str], None],
) -> tuple[KNN, list[dict[str, Any]]]:
    """The best scorer on validation, of equals the first, and what all reach, by their settings.

    Those of a group rank each batch one after the other, so that it is read once.
    """
    catalogue, trials = prepared.catalogue, []
    best: KNN | None = None
    highest = -1.0
    for group in groups:
        (_, first), *others = group
        beside: dict[str, Scorer] = {str(n): scorer for n, (_, scorer) in enumerate(others)}
        ranks: Ranks = rank_split(
            first, validation_batches, catalogue, with_rows=False, beside=beside
        )
        of_group = [ranks, *(ranks.by(name) for name in beside)]
        for (settings, scorer), of_scorer in zip(group, of_group, strict=True):
            found = of_scorer.metrics(catalogue.domains)["overall"]
            trials.append(settings | {"validation": found})
            named = ", ".join(
                f"{name} {value if isinstance(value, str) else format(value, 'g')}"
                for name, value in settings.items()
            )
            report(f"{what}, {named}: validation {SELECTION_METRIC} {found[SELECTION_METRIC]:.4f}")
            if found[SELECTION_METRIC] > highest:
                best, highest = scorer, found[SELECTION_METRIC]
    assert best is not None, "a grid has no combination"
    return best, trials
