"""Whether people come back to what they had: counted on training events, decided by domain.

Where they do (apps, groceries), what a user had is the first thing to recommend; where they do not
(books), it is the last. So it is a property of a domain whether the items of a user's history are
candidates, and everything that ranks or recommends obeys what is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.pipeline.splits import TRAIN
from data_prep.pipeline.user_histories import Histories

SHARE = 0.1
"""A domain in which at least so many training events repeat an item is one where people come back.

With fewer, the history in the candidates costs more than the repeats are worth: its items are like
what comes next, and stand before it.
"""


def count(some: Histories, roles: np.ndarray, item_domains: np.ndarray) -> np.ndarray:
    """Counts training events that could be of an item that the user had before, and that are.

    Args:
      some: whole users.
      roles: `[events]`, the role of each event.
      item_domains: `[items]` int, domain of each item by code.

    Returns:
      `[2, domains]` int64: events after a user's first in the domain; those of them whose item the
      user had.
    """
    train = roles == TRAIN
    owners, items = some.owners[train].astype(np.int64), some.items[train]
    domains, number = item_domains[items], int(item_domains.max(initial=-1)) + 1
    events = np.bincount(domains, minlength=number)
    visits = np.unique(owners * number + domains) % number
    once = np.unique(owners * len(item_domains) + items) % len(item_domains)
    different = np.bincount(item_domains[once], minlength=number)
    return np.stack([events - np.bincount(visits, minlength=number), events - different])


def decide(repeats: str, share: np.ndarray) -> np.ndarray:
    """Whether the items of a history are candidates.

    Args:
      repeats: the setting `data.repeats`.
      share: `[domains]`, part of the training events that could repeat an item and do.

    Returns:
      `[domains]` bool.
    """
    if repeats == "auto":
        return share >= SHARE
    return np.full(len(share), repeats == "include")


def describe_repeats(domains: Sequence[str], share: np.ndarray, repeats: np.ndarray) -> str:
    """Says where people come back, or histories are candidates; empty where neither is so.

    Args:
      domains: names.
      share: of `decide`.
      repeats: `[domains]` bool, what was decided.
    """
    parts = []
    for what, where in {
        "seen items are candidates": repeats,
        "they are not, so that repeated targets are misses": ~repeats & (share >= SHARE),
    }.items():
        names = [f"{domains[d]} ({share[d]:.1%})" for d in np.flatnonzero(where).tolist()]
        if names:
            parts.append(f"{what} in {', '.join(names)}")
    if not parts:
        return ""
    return f"Repeat consumption (share of training events that repeat): {'; '.join(parts)}."
