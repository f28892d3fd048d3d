"""What all generators share: how long sequences are, and the table with its names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data_prep.settings import SyntheticConfig


def draw_lengths(rng: np.random.Generator, settings: SyntheticConfig) -> np.ndarray:
    """Draws `[users]`, how many interactions each has: from half the mean to one and a half."""
    mean = settings.interactions_per_user
    lengths = rng.integers(math.ceil(mean / 2), mean + mean // 2 + 1, settings.users)
    return np.maximum(lengths, 3)


def draw_labels(rng: np.random.Generator, sizes: Sequence[int]) -> np.ndarray:
    """Draws the number in its name of each item of each domain, apart from the structure."""
    return np.concatenate([rng.permutation(size) for size in sizes])


def as_table(
    labels: np.ndarray,
    names: Sequence[str],
    sizes: Sequence[int],
    lengths: np.ndarray,
    domains: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
) -> pa.Table:
    """Makes the table; an item's number in it says nothing of what it is like.

    Args:
      labels: of `draw_labels`.
      names: of the domains.
      sizes: how many items each domain has.
      lengths: `[users]`.
      domains: `[users, steps]`, of which a user's first `lengths` count, as in what follows.
      items: `[users, steps]`, each from 0 within its domain.
      times: `[users, steps]`, seconds.

    Returns:
      `user_id, item_id, domain, timestamp`, a user's rows together.
    """
    taken = np.arange(domains.shape[1]) < lengths[:, None]  # (users, steps)
    users = np.broadcast_to(np.arange(len(lengths))[:, None], taken.shape)
    first = np.cumsum([0, *sizes[:-1]])  # of each domain in what all have together
    of_items = np.concatenate(
        [item_names(name, size) for name, size in zip(names, sizes, strict=True)]
    )
    domain = domains[taken]
    label = labels[first[domain] + items[taken]]
    return pa.table(
        {
            "user_id": pa.array(item_names("user", len(lengths))[users[taken]], pa.string()),
            "item_id": pa.array(of_items[first[domain] + label], pa.string()),
            "domain": pa.array(np.array(names, dtype=object)[domain], pa.string()),
            "timestamp": pa.array(times[taken].astype(np.float64)),
        }
    )


def item_names(prefix: str, total: int) -> np.ndarray:
    """Names with a number from 0, `[total]`: all of one length."""
    digits = len(str(total - 1))
    return np.array([f"{prefix}_{i:0{digits}d}" for i in range(total)], dtype=object)
