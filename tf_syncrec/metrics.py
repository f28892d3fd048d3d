"""Ranking metrics from the ranks of the targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

CUT_OFFS = (5, 10)
SELECTION_METRIC = "ndcg@10"
"""What model selection looks at, on validation only."""


def rank_metrics(ranks: np.ndarray) -> dict[str, Any]:
    """HR@k, NDCG@k and MRR, each averaged over users.

    With one relevant item a user, NDCG@k is `1 / log2(1 + rank)` up to rank k, else 0.

    Args:
        ranks: `[users]` ranks of the targets, 1 = best.

    Returns:
        `{"users", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr"}`; zeros without users.
    """
    ranks = np.asarray(ranks, np.float64)
    if not (ranks >= 1).all():
        raise ValueError(f"ranks must be numbers from 1. Received: {ranks[~(ranks >= 1)][:5]}")
    users = len(ranks)
    gains: dict[str, np.ndarray] = {}
    for k in CUT_OFFS:
        gains[f"hr@{k}"] = ranks <= k
    for k in CUT_OFFS:
        gains[f"ndcg@{k}"] = np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)
    gains["mrr"] = 1.0 / ranks
    return {"users": users} | {
        name: float(gain.mean()) if users else 0.0 for name, gain in gains.items()
    }


def domain_metrics(
    ranks: np.ndarray, domains: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """`{"overall": R, "domains": {name: R}}`, R from `rank_metrics`.

    Args:
        ranks: `[users]`.
        domains: `[users]` index of the target's domain.
        names: the domains in the order of their indices.
    """
    return {
        "overall": rank_metrics(ranks),
        "domains": {name: rank_metrics(ranks[domains == d]) for d, name in enumerate(names)},
    }
