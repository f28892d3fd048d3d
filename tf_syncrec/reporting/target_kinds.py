"""Kinds of users and of targets, as `metrics.json` and `comparison.json` have them, in words."""

from collections.abc import Mapping
from typing import Any, NamedTuple

GROUPS = {
    "in_domain_history": "interactions in the target's domain before",
    "history": "interactions in all domains before",
    "last_item": "last item of the history",
    "same_day": "an in-domain item on the target's day",
    "popularity": "popularity of the target in its domain",
    "cold": "target never seen in training",
    "candidate": "the target is in training or in the items file",
    "item_age": "days since the target's first interaction",
    "repeated": "the user had the target before",
    "near_duplicate": "a near-duplicate in the history",
}
"""What the names of `evaluation.breakdown` mean; others are shown by their names."""

OF_USERS = ("in_domain_history", "history", "last_item", "same_day")
"""Kinds that say something of the user; all others are of the item."""


class Group(NamedTuple):
    """A row: users of a kind, how good, give or take how much, and a bar's length."""

    name: str
    users: int
    hr: float
    ndcg: float
    give_or_take: float | None
    bar: float


class Kind(NamedTuple):
    """What users or targets are told apart by."""

    title: str
    groups: list[Group]


def kinds_of(breakdown: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, list[Kind]]:
    """Tables of the kinds of users and of items, whatever kinds there are; empty groups left out.

    Args:
        breakdown: of `evaluation.breakdown.breakdown`.

    Returns:
        `{"users": kinds, "items": kinds}`; a kind that has one group of users says nothing.
    """
    found: dict[str, list[Kind]] = {"users": [], "items": []}
    most = max((g["ndcg@10"] for kind in breakdown.values() for g in kind.values()), default=0.0)
    for name in sorted(breakdown, key=lambda name: [*GROUPS, name].index(name)):
        groups = [
            Group(
                group,
                row["users"],
                row["hr@10"],
                row["ndcg@10"],
                1.96 * row["error"] if "error" in row else None,
                row["ndcg@10"] / most if most else 0.0,
            )
            for group, row in breakdown[name].items()
            if row["users"]
        ]
        if len(groups) > 1:
            of = "users" if name in OF_USERS else "items"
            found[of].append(Kind(GROUPS.get(name, name.replace("_", " ")), groups))
    return found
