"""A seeded generator of interactions whose structure is planted, so that tests can demand it.

`books`, `films` and `music` share each user's *taste*, one of many clusters that each hold a few
items of every domain. A user's next item in these domains mostly comes from the current taste. The
taste drifts: every now and then the user moves to another cluster, in all three domains at once.
So the latest items of the *other* two domains say where the user is now, and help to predict.

`contrary` has a strong pattern of its own: the next item mostly follows from the previous
`contrary` item, as a fixed successor of it. Otherwise it comes from a cluster that depends on the
taste through a shift drawn for each user alone. So what the other domains' items seem to say about
`contrary` holds for one user and is wrong for the next: learning it from others misleads.

How much the others mislead can be graded (`harm`): of a domain's interactions a part is made as
those of `contrary`, the rest as those of `books`.

Popularity is skewed, but mildly: knowing it is worth little beside knowing the structure.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from data_prep.settings import SyntheticConfig

SHARED = ("books", "films", "music")
CONTRARY = "contrary"
DOMAINS = (*SHARED, CONTRARY)
_HARM = (0.0, 0.0, 0.0, 1.0)  # Of these domains.
_CLUSTER_ITEMS = 10
_DRIFT = 0.15  # Chance that the taste moves before an interaction.
_FOLLOW_TASTE = 0.92  # Chance that a shared domain's item is of the current taste.
_FOLLOW_CHAIN = 0.85  # Chance that a contrary item is the successor of the previous one.
_REDRAWS = 4
_START = 1_500_000_000  # Epoch seconds.
_DAY = 86_400


def generate(settings: SyntheticConfig | None = None) -> pa.Table:
    """Generates the interactions.

    Args:
      settings: how much, and the seed: equal settings give equal tables. By default the defaults.

    Returns:
      A table with `user_id, item_id, domain, timestamp` (seconds), a user's rows together.
    """
    sizes = settings or SyntheticConfig()
    rng = np.random.default_rng(sizes.seed)
    mean = sizes.interactions_per_user
    lengths = rng.integers(math.ceil(mean / 2), mean + mean // 2 + 1, sizes.users)
    lengths = np.maximum(lengths, 3)
    steps = int(lengths.max())
    names, harm = domains_of(sizes)
    domains, items = _walk(rng, sizes, steps, harm)  # each (users, steps)
    gaps = rng.exponential(_DAY, (sizes.users, steps)).astype(np.int64) + 60
    times = _START + rng.integers(0, 365 * _DAY, (sizes.users, 1)) + gaps.cumsum(axis=1)
    taken = np.arange(steps) < lengths[:, None]  # (users, steps)
    users = np.broadcast_to(np.arange(sizes.users)[:, None], taken.shape)
    # Labels are drawn apart from the structure: an item's number says nothing about its cluster.
    labels = np.stack([rng.permutation(sizes.items_per_domain) for _ in names])
    domain, item = domains[taken], items[taken]
    return pa.table(
        {
            "user_id": _names("user", users[taken], sizes.users),
            "item_id": _item_names(names, domain, labels[domain, item], sizes.items_per_domain),
            "domain": pa.array(np.array(names, dtype=object)[domain], pa.string()),
            "timestamp": pa.array(times[taken].astype(np.float64)),
        }
    )


def domains_of(settings: SyntheticConfig) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the domains, and the part of each that is misleading, `[domains]`."""
    if not settings.harm:
        return DOMAINS, np.array(_HARM)
    return tuple(f"harm_{share:g}" for share in settings.harm), np.array(settings.harm)


def _walk(
    rng: np.random.Generator, sizes: SyntheticConfig, steps: int, harm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws all users' domains and items; loops over time, not over users."""
    users, num_items = sizes.users, sizes.items_per_domain
    clusters = max(2, num_items // _CLUSTER_ITEMS)
    size = num_items // clusters
    weights = 1 / np.sqrt(np.arange(clusters) + 5)  # The mild skew.
    weights /= weights.sum()
    everyone = np.arange(users)

    leaning = rng.dirichlet(np.full(len(harm), 4.0), users).cumsum(axis=1)
    draws = rng.random((users, steps, 1))
    domains = (draws > leaning[:, None, :-1]).sum(axis=2).astype(np.int8)  # (users, steps)
    successor = np.roll(order := rng.permutation(num_items), -1)[np.argsort(order)]
    shift = rng.integers(0, clusters, users)
    seen = np.zeros((users, len(harm), num_items), bool)
    graded = np.any((harm > 0) & (harm < 1))

    taste = rng.choice(clusters, users, p=weights)
    # The last item of each domain, [users, domains].
    chain = np.repeat(rng.integers(0, num_items, (users, 1)), len(harm), axis=1)
    items = np.empty((users, steps), np.int32)
    for step in range(steps):
        domain = domains[:, step]
        contrary = harm[domain] > (rng.random(users) if graded else 0)
        taste = np.where(rng.random(users) < _DRIFT, rng.choice(clusters, users, p=weights), taste)
        cluster = np.where(contrary, (taste + shift) % clusters, taste)
        clustered = cluster * size + rng.integers(0, size, users)
        # Few repeats: an item that the user had is drawn again, a few times.
        for _ in range(_REDRAWS):
            other = cluster * size + rng.integers(0, size, users)
            clustered = np.where(seen[everyone, domain, clustered], other, clustered)
        noise = rng.integers(0, num_items, users)
        shared = np.where(rng.random(users) < _FOLLOW_TASTE, clustered, noise)
        chained = np.where(
            rng.random(users) < _FOLLOW_CHAIN, successor[chain[everyone, domain]], clustered
        )
        items[:, step] = np.where(contrary, chained, shared)
        chain[everyone, domain] = items[:, step]
        seen[everyone, domain, items[:, step]] = True
    return domains, items


def _names(prefix: str, numbers: np.ndarray, total: int) -> pa.Array:
    digits = len(str(total - 1))
    names = np.array([f"{prefix}_{i:0{digits}d}" for i in range(total)], dtype=object)
    return pa.array(names[numbers], pa.string())


def _item_names(
    names: tuple[str, ...], domain: np.ndarray, number: np.ndarray, total: int
) -> pa.Array:
    digits = len(str(total - 1))
    of_domains = [[f"{name}_{i:0{digits}d}" for i in range(total)] for name in names]
    return pa.array(np.array(of_domains, dtype=object)[domain, number], pa.string())
