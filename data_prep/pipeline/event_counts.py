"""Counts what is in the histories: by item and role, by domain, by length."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.pipeline import repeats
from data_prep.pipeline.splits import ROLES, TEST, VALIDATION
from data_prep.pipeline.user_histories import Histories


class EventCounts:
    """Counts over all histories that were added.

    Attributes:
      events: `[roles, items]` int64, events of each item in each role.
      first_roles: `[roles]` int64, users by the role of their first event.
      lengths: number of events to number of users.
    """

    def __init__(self, domains: pa.DictionaryArray):
        """Counts nothing yet.

        Args:
          domains: `[items]`, the name of each item's domain by code, in alphabetical order.
        """
        self._names, self._domain = domains.dictionary.to_pylist(), domains.indices.to_numpy()
        self.events = np.zeros((ROLES, len(domains)), np.int64)
        self.first_roles = np.zeros(ROLES, np.int64)
        self.lengths: collections.Counter[int] = collections.Counter()
        self._shared = np.zeros((len(self._names), len(self._names)), np.int64)
        self._repeats = np.zeros((2, len(self._names)), np.int64)

    def add(self, some: Histories, roles: np.ndarray) -> None:
        """Counts whole users.

        Args:
          some: the users; none was added before.
          roles: `[events]`, the role of each event.
        """
        np.add.at(self.events.reshape(-1), roles * self.events.shape[1] + some.items, 1)
        self.first_roles += np.bincount(roles[some.starts[:-1]], minlength=ROLES)
        lengths, users = np.unique(some.lengths, return_counts=True)
        self.lengths.update(dict(zip(lengths.tolist(), users.tolist(), strict=True)))
        # Single precision counts exactly up to 2^24, which is more users than a batch has.
        visits = np.zeros((len(some.user_ids), len(self._names)), np.float32)
        visits[some.owners, self._domain[some.items]] = 1
        self._shared += (visits.T @ visits).astype(np.int64)
        self._repeats += repeats.count(some, roles, self._domain)

    @property
    def _kept(self) -> np.ndarray:
        return self._shared.diagonal() > 0

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains with events, alphabetical."""
        return tuple(name for name, kept in zip(self._names, self._kept, strict=True) if kept)

    @property
    def item_domains(self) -> np.ndarray:
        """`[items]` int32, index into `domains`; of no meaning for an item without events."""
        return (self._kept.cumsum() - 1).astype(np.int32)[self._domain]

    @property
    def log_domains(self) -> np.ndarray:
        """`[items]` int64, index into `domains` also of an item without events; -1: not in it."""
        return np.where(self._kept, self._kept.cumsum() - 1, -1)[self._domain]

    @property
    def shared_users(self) -> np.ndarray:
        """`[domains, domains]`, users with events in both."""
        return self._shared[np.ix_(self._kept, self._kept)]

    @property
    def repeated_share(self) -> np.ndarray:
        """`[domains]`, part of the training events after a user's first that repeat an item."""
        could, did = self._repeats[:, self._kept]
        return did / np.maximum(could, 1)

    def totals(self) -> dict[str, int]:
        """Counts over everything, by name."""
        events, users = self.events.sum(axis=1), sum(self.lengths.values())
        return {
            "events": int(events.sum()),
            "users": users,
            "validation_users": int(events[VALIDATION]),
            "evaluated_users": int(events[TEST]),
            "items": int(np.count_nonzero(self.events.sum(axis=0))),
        }

    def by_domain(self) -> dict[str, dict[str, Any]]:
        """Counts by domain and name."""
        of_item, users = self.events.sum(axis=0), self.shared_users.diagonal()
        shares = self.repeated_share
        found = {}
        for index, name in enumerate(self.domains):
            mine = (self.item_domains == index) & (of_item > 0)
            found[name] = {
                "users": int(users[index]),
                "items": int(mine.sum()),
                "interactions": int(of_item[mine].sum()),
                "validation_targets": int(self.events[VALIDATION, mine].sum()),
                "test_targets": int(self.events[TEST, mine].sum()),
                "repeated_share": float(shares[index]),
            }
        return found
