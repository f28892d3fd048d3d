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

import numpy as np
import pyarrow as pa

from data_prep.read.datasets.made_up import as_table, draw_labels, draw_lengths, item_names
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


def generate(settings: SyntheticConfig) -> pa.Table:
    """Generates the interactions, see `data_prep.read.datasets.synthetic`."""
    return as_table(*_drawn(settings))


def items(settings: SyntheticConfig) -> pa.Table:
    """What is known of the items: of which taste each is, and two things that say nothing of it.

    Returns:
      `item_id, domain, taste, maker, price`, a row an item, in the order of their names; an item
      that only chance brings is of no taste.
    """
    labels, names, (total, *_), *_ = _drawn(settings)
    number = np.argsort(labels.reshape(len(names), total), axis=1).ravel()  # by name
    clusters, size = _clusters(total)
    of_taste = item_names("taste", clusters)[np.minimum(number // size, clusters - 1)]
    chance = np.random.default_rng([settings.seed, 1])
    return pa.table(
        {
            "item_id": pa.array(np.concatenate([item_names(name, total) for name in names])),
            "domain": pa.array(np.repeat(np.array(names, dtype=object), total)),
            "taste": pa.array(of_taste, mask=number >= clusters * size),
            "maker": pa.array(item_names("maker", 8)[chance.integers(0, 8, len(number))]),
            "price": pa.array(chance.lognormal(2, 1, len(number)).round(2)),
        }
    )


def _drawn(settings: SyntheticConfig) -> tuple:
    """The arguments of `as_table`."""
    rng = np.random.default_rng(settings.seed)
    lengths = draw_lengths(rng, settings)
    steps = int(lengths.max())
    names, harm = domains_of(settings)
    domains, items = _walk(rng, settings, steps, harm)  # each (users, steps)
    gaps = rng.exponential(_DAY, (settings.users, steps)).astype(np.int64) + 60
    times = _START + rng.integers(0, 365 * _DAY, (settings.users, 1)) + gaps.cumsum(axis=1)
    sizes = [settings.items_per_domain] * len(names)
    return draw_labels(rng, sizes), names, sizes, lengths, domains, items, times


def _clusters(num_items: int) -> tuple[int, int]:
    """How many tastes there are, and how many items of a domain are of each."""
    clusters = max(2, num_items // _CLUSTER_ITEMS)
    return clusters, num_items // clusters


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
    clusters, size = _clusters(num_items)
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
