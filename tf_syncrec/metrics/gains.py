"""Ranking metrics from the ranks of the targets."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

CUT_OFFS = (5, 10)
METRICS = (*(f"hr@{k}" for k in CUT_OFFS), *(f"ndcg@{k}" for k in CUT_OFFS), "mrr")
"""Names of what is reported, in the order of the tables."""
MISS = np.inf
"""Rank of a target that cannot be recommended, such as one that training never saw. By the formula
of every metric it is worth 0, whoever computes it: 1 / rank, 1 / log2(1 + rank), rank <= k."""
SELECTION_METRIC = "ndcg@10"
"""What model selection looks at, on validation only."""


def parse_metric(name: str) -> tuple[str, int]:
    """`"ndcg@10"` -> `("ndcg", 10)`.

    Raises:
        ValueError: it is neither `hr@k` nor `ndcg@k`, k a whole number from 1.
    """
    found = re.fullmatch(r"(hr|ndcg)@([1-9]\d*)", name)
    if not found:
        raise ValueError(f"a metric is hr@k, ndcg@k or mrr. Received: {name!r}")
    return found[1], int(found[2])


def user_gains(ranks: np.ndarray, metric: str) -> np.ndarray:
    """What each user adds to a metric; its mean over users is the metric.

    With one relevant item a user, NDCG@k is `1 / log2(1 + rank)` up to rank k, else 0.

    Args:
        ranks: `[users]` ranks of the targets, 1 = best, `MISS` for a miss.
        metric: `hr@k`, `ndcg@k` (k a whole number from 1) or `mrr`.

    Returns:
        `[users]` float64 from 0 to 1.

    Raises:
        ValueError: a rank is no number from 1, or the metric is none of these.
    """
    ranks = np.asarray(ranks, np.float64)
    if not (ranks >= 1).all():
        raise ValueError(f"ranks must be numbers from 1. Received: {ranks[~(ranks >= 1)][:5]}")
    if metric == "mrr":
        return 1.0 / ranks
    kind, cut_off = parse_metric(metric)
    gains = np.ones_like(ranks) if kind == "hr" else 1.0 / np.log2(1.0 + ranks)
    return np.where(ranks <= cut_off, gains, 0.0)


def rank_metrics(ranks: np.ndarray) -> dict[str, Any]:
    """HR@k, NDCG@k and MRR, each averaged over users.

    Args:
        ranks: `[users]` ranks of the targets, 1 = best, `MISS` for a miss.

    Returns:
        `{"users", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr"}`; zeros without users.
    """
    return mean_gains({name: user_gains(ranks, name) for name in METRICS})


def mean_gains(gains: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """As `rank_metrics`, of what each user adds to each of `METRICS`, `{name: [users]}`."""
    users = len(gains["mrr"])
    return {"users": users} | {
        name: float(gain.mean()) if users else 0.0 for name, gain in gains.items()
    }


def shown_split(found: Container[str]) -> str:
    """What tables and pages show: `test`, or `validation` where the test targets were left out.

    Args:
        found: the splits that were measured, `metrics.json` as it is or otherwise by name.
    """
    return "test" if "test" in found else "validation"


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
