"""What a sampled protocol gives on average over all draws, from ranks among all candidates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches
from tf_syncrec.metrics.gains import METRICS, MISS, mean_gains, parse_metric, user_gains


def expected_gains(
    ranks: np.ndarray, others: np.ndarray, negatives: int, metric: str
) -> np.ndarray:
    """What each user adds to a metric on average, if negatives were drawn again and again.

    Of the `rank - 1` items above the target, so many are drawn as a hypergeometric distribution
    says: `negatives` of `others` without replacement.

    Args:
        ranks: `[users]` ranks of the targets among all candidates, `gains.MISS` for a miss.
        others: `[users]` how many items negatives are drawn from: candidates but for the target,
            or more, such as items that training never saw, which no model puts above a target.
        negatives: how many are drawn, or all where there are fewer.
        metric: as in `metrics.gains.user_gains`.

    Returns:
        `[users]` float64 from 0 to 1.

    Raises:
        ValueError: more items are above a target than there are others, or no negative is drawn.
    """
    ranks, others = np.asarray(ranks, np.float64), np.asarray(others, np.int64)
    possible = ranks < MISS
    above = np.where(possible, ranks - 1, 0).astype(np.int64)
    if negatives < 1 or (above > others).any():
        raise ValueError(
            f"ranks must be 1 to others + 1, negatives 1 or more. Received: negatives={negatives}, "
            f"ranks={ranks[above > others][:5]}, others={others[above > others][:5]}"
        )
    drawn = np.minimum(negatives, others)
    if metric == "mrr":
        # E[1 / (1 + X)] in closed form: with C(K, x) / (x + 1) = C(K + 1, x + 1) / (K + 1) the
        # sum over x is that of another hypergeometric distribution, all but its first term.
        none = _probability(0, others + 1, above + 1, drawn + 1)
        gains = (others + 1) / ((above + 1) * (drawn + 1)) * (1 - none)
    else:
        _, cut_off = parse_metric(metric)
        gains = sum(
            _probability(x, others, above, drawn) * user_gains(np.array([1 + x]), metric)
            for x in range(cut_off)
        )
    return np.where(possible, gains, 0.0)


def _probability(x: int, others: np.ndarray, above: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """That x of those above are drawn; SciPy's `hypergeom.pmf` takes 200 microseconds a user."""
    can_be = (x <= above) & (x <= drawn) & (drawn - x <= others - above)
    others, above, drawn = (np.where(can_be, part, x) for part in (others, above, drawn))
    ways = _log_choose(above, x) + _log_choose(others - above, drawn - x)
    return np.where(can_be, np.exp(ways - _log_choose(others, drawn)), 0.0)


def _log_choose(n: np.ndarray, k: np.ndarray | int) -> np.ndarray:
    """Logarithm of the number of ways to choose k of n."""
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - k + 1)


def expected_metrics(
    ranks: np.ndarray,
    others: np.ndarray,
    negatives: int,
    domains: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    """`{"overall": R, "domains": {domain: R}}`, R as of `metrics.gains.rank_metrics`.

    Args:
        ranks: as in `expected_gains`.
        others: likewise.
        negatives: likewise.
        domains: `[users]` index of the target's domain.
        names: the domains in the order of their indices.
    """
    gains = {metric: expected_gains(ranks, others, negatives, metric) for metric in METRICS}
    rows = {
        name: mean_gains({metric: gain[domains == d] for metric, gain in gains.items()})
        for d, name in enumerate(names)
    }
    return {"overall": mean_gains(gains), "domains": rows}


def count_others(batches: Batches, catalogue: Catalogue) -> np.ndarray:
    """From how many items `sampled_domain` draws: candidates of the domain but for the target.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.

    Returns:
        `[users]` int64, in the order of the batches.
    """
    counts = [np.zeros(0, np.int64)]
    for batch in batches:
        domain = int(batch["domain"][0])
        first, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        out = np.hstack([batch["excluded"].numpy(), batch["target"].numpy()[:, None]])
        out = np.sort(np.where((out >= first) & (out < first + size), out, 0), axis=1)
        new = (out > 0) & (out != np.pad(out[:, :-1], [(0, 0), (1, 0)]))
        counts.append(size - new.sum(axis=1))
    return np.concatenate(counts)
