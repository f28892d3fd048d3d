"""Lists of recommendations, apart from being right: coverage, novelty, diversity, popularity."""

import numpy as np

LIST_METRICS = ("coverage", "novelty", "diversity", "popularity_bias", "gini")
"""What `metrics.json` calls them."""


def coverage(items: np.ndarray, candidates: int) -> float:
    """Catalogue coverage: which part of the candidates is in the list of at least one user.

    Args:
        items: `[users, k]` item ids, 0 for none.
        candidates: how many items could be.

    References:
        - Ge et al., Beyond accuracy, RecSys 2010; `CatalogCoverage(normalize=True)` of RecTools
    """
    return float(len(np.setdiff1d(items, [0])) / candidates)


def self_information(counts: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """How many bits it says that somebody took an item: `-log2 p`, p its part of its domain.

    Args:
        counts: `[items]` training interactions; an item without any counts as one with one.
        domains: `[items]` index of the domain.

    References:
        - Zhou et al., Solving the apparent diversity-accuracy dilemma, PNAS 2010. `MIUF` of
          RecTools has users in place of interactions: the same where nobody comes back.
    """
    totals = np.bincount(domains, weights=counts)
    return -np.log2(np.maximum(counts, 1) / np.maximum(totals[domains], 1))


def mean_of_lists(items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the list of each user, `[users]`.

    Args:
        items: `[users, k]` item ids, 0 for none.
        values: by item id.
    """
    there = items > 0
    return np.where(there, values[items], 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)


def intra_list_diversity(items: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Mean cosine distance of the pairs of a list, `[users]`; 0 of fewer than two items.

    By the vectors of the model itself, so that it compares users and domains and not models.

    Args:
        items: `[users, k]` item ids, 0 for none.
        vectors: `[users, k, dim]`.

    References:
        - Ziegler et al., Improving recommendation lists through topic diversification, WWW 2005;
          `IntraListDiversity` of RecTools
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = np.where(items[..., None] > 0, vectors / np.maximum(norms, 1e-12), 0.0)
    there = (items > 0).sum(axis=1)
    pairs = there * (there - 1) / 2
    # The squared sum of unit vectors has each pair twice, and each vector with itself.
    alike = (np.square(vectors.sum(axis=1)).sum(axis=-1) - there) / 2
    return np.where(pairs > 0, 1.0 - alike / np.maximum(pairs, 1), 0.0)


def popularity_bias(items: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> float:
    """Mean training interactions of what is recommended, by those of what was really next.

    1: lists are as popular as what people take; 3: thrice as popular. The numerator is
    `ARP` (average recommendation popularity) of Cornac's and RecTools' formulas.

    Args:
        items: `[users, k]` item ids, 0 for none.
        targets: `[users]` item ids, 0 for one that training never saw.
        counts: training interactions by item id, 0 for id 0.

    References:
        - Abdollahpouri et al., Managing popularity bias in recommender systems, 2019
    """
    taken = counts[targets].mean()
    return float(mean_of_lists(items, counts).mean() / taken) if taken else 0.0


def gini(shown: np.ndarray) -> float:
    """How unequally items are shown: 0 all equally often, towards 1 always the same ones.

    Args:
        shown: `[items]`, in how many lists each is.

    References:
        - Fleder and Hosanagar, Blockbuster culture's next rise or fall, 2009;
          `GiniIndex` of RecBole
    """
    ordered, n = np.sort(shown).astype(float), len(shown)
    if not ordered.sum():
        return 0.0
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * ordered.sum()))
