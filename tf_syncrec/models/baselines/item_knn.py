"""Item-kNN: what the users of the history's items also had, without training."""

import numpy as np
import scipy.sparse as sparse

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import similarities, user_items

HISTORIES = ("merged", "domain")

SCORES_AT_ONCE = 2**23
"""Scores that are sparse at a time: the sparse form of all takes several times the dense one's
memory."""


class ItemKNN:
    """Scores a candidate by its similarity to the items of the history, the latest weighing most.

    `score(c) = sum over items h of the history of decay^age(h) sim(h, c)`, where `age(h)` counts
    the interactions after the latest one with h: 0 for the last. A user without history scores 0
    everywhere.

    Args:
        similarities: one `[items + 1, size]` sparse matrix a domain, from `similarities`.
        catalogue: items and domains.
        decay: weight of an interaction relative to the one after it, in (0, 1].
        history: `merged` uses all of it, `domain` the items of the target's domain alone (ages
            count within it).

    References:
        - [Item-Based Top-N Recommendation Algorithms](https://doi.org/10.1145/963770.963776)
    """

    def __init__(
        self,
        similarities: list[sparse.csr_array],
        catalogue: Catalogue,
        decay: float,
        history: str,
    ):
        if not 0 < decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1. Received: {decay}")
        if history not in HISTORIES:
            raise ValueError(f"history must be one of {HISTORIES}. Received: {history!r}")
        self.decay, self.history = decay, history
        self._similarities = similarities
        self._offsets = catalogue.offsets
        self._ends = catalogue.offsets + catalogue.sizes
        self._item_domains = np.concatenate([[-1], catalogue.item_domains])  # by id

    def refresh(self) -> None:
        """Nothing is learned after fitting."""

    def queries(self, batch) -> np.ndarray:
        """The interactions that count, by age.

        Returns:
            `[batch, length]` int32 item ids: the last column holds the latest interactions, 0 is
            none, and no row names an item twice.
        """
        items = np.asarray(batch["items"])
        counts = items > 0
        if self.history == "domain":
            counts &= self._item_domains[items] == np.asarray(batch["domain"])[:, None]
            order = np.argsort(counts, axis=1, kind="stable")  # those that count, to the right
            items = np.take_along_axis(np.where(counts, items, 0), order, axis=1)
        # Stable, so that of equal items the latest comes last.
        order = np.argsort(items, axis=1, kind="stable")
        ordered = np.take_along_axis(items, order, axis=1)
        latest = np.ones(items.shape, bool)
        latest[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
        unique = np.zeros_like(items)
        np.put_along_axis(unique, order, np.where(latest, ordered, 0), axis=1)
        return unique

    def scores(self, queries, offset: int, size: int) -> np.ndarray:
        """Scores of a domain's items.

        Args:
            queries: rows of what `queries` returned.
            offset: first item id.
            size: number of items, all of one domain.

        Returns:
            `[rows, size]` float32.
        """
        block = self._slice(offset, size)
        queries = np.asarray(queries)
        rows, length = queries.shape
        weights = (self.decay ** np.arange(length)[::-1]).astype(np.float32)
        scores = np.empty((rows, size), np.float32)
        step = max(SCORES_AT_ONCE // max(size, 1), 1)
        for start in range(0, rows, step):
            part = queries[start : start + step]
            row, age = np.nonzero(part)
            history = sparse.csr_array(
                (weights[age], (row, part[row, age])), shape=(len(part), block.shape[0])
            )
            scores[start : start + step] = (history @ block).toarray()
        return scores

    def _slice(self, offset: int, size: int) -> sparse.csr_array:
        domain = int(np.searchsorted(self._ends, offset, side="right"))
        domain = min(domain, len(self._ends) - 1)
        start = offset - int(self._offsets[domain])
        if start < 0 or offset + size > self._ends[domain]:
            raise ValueError(f"items must be of one domain. Received: offset={offset}, size={size}")
        block = self._similarities[domain]
        return block if size == block.shape[1] else block[:, start : start + size]


def fit_item_knn(
    prepared: Sequences,
    shrinkage: float = 0.0,
    decay: float = 1.0,
    neighbours: int | None = None,
    history: str = "merged",
) -> ItemKNN:
    """Makes a scorer from the training rows; for the arguments see `ItemKNN`, `similarities`."""
    matrices = similarities(user_items(prepared), prepared.catalogue, shrinkage, neighbours)
    return ItemKNN(matrices, prepared.catalogue, decay, history)
