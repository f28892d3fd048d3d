"""What the numbers are made of: metrics by kind of target."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep import Catalogue, PreparedDataset
from data_prep.pipeline.times import UNITS
from tf_syncrec.metrics.gains import user_gains

LENGTH_BINS = {"0": 0, "1": 1, "2": 2, "3-5": 3, "6-10": 6, "11+": 11}
"""Numbers of interactions in the target's domain: label and lower end."""

AGE_BINS = {"0-6": 0, "7-29": 7, "30-179": 30, "180-364": 180, "365+": 365}
"""Days since an item was first had: label and lower end."""

HISTORY_BINS = {"0-2": 0, "3-5": 3, "6-10": 6, "11-20": 11, "21-50": 21, "51+": 51}
"""Numbers of interactions in all domains: label and lower end."""

POPULARITY_BANDS = {
    "most popular 10 %": 0.1,
    "next 40 %": 0.5,
    "least popular 50 %": 1.0,
    "never in training": None,
}
"""Items of a domain by training interactions: label and upper end, as a part of its items."""

MIN_SHARED_USERS = 2
MIN_SHARED_PART = 0.5
"""Two items of a domain are near-duplicates, as the variants of a product are, when at least
MIN_SHARED_USERS users had both on one UTC day in training; close ones when these are at least
MIN_SHARED_PART of the users of the item that fewer had."""

LARGEST_DAY = 200
"""Items of one domain and user on a day; days with more say nothing (an import, a robot), and their
pairs would be very many."""

USERS_AT_ONCE = 8192
"""Rows of the dataset read at a time."""

# Logs name no unit. Up to this magnitude of the largest timestamp a day has this many units:
# numbered days; seconds, milliseconds, microseconds since 1970; beyond, nanoseconds.
_UNITS = ((1e6, 1.0), *((below, 86_400 * unit) for below, unit in UNITS))


@dataclasses.dataclass(frozen=True)
class TargetGroups:
    """Kinds of targets of a split.

    Attributes:
        user_ids: `[users]` bytes, to join by.
        groups: `{name: {group: [users] bool}}`; of one name, a target is in one group (in none of
            `last_item` when the history is empty).
    """

    user_ids: np.ndarray
    groups: dict[str, dict[str, np.ndarray]]


def group_targets(
    prepared: PreparedDataset, split: str, with_duplicates: bool = True
) -> TargetGroups:
    """Sorts the targets of a split into groups.

    * `last_item`: the last item of the history is of the `same domain` as the target or of an
      `other domain`.
    * `same_day`: an in-domain interaction of the history is on the target's UTC day: `yes`, `no`.
      Where timestamps are whole days, the order of these two is not known.
    * `near_duplicate`: the history holds a near-duplicate of the target (`MIN_SHARED_USERS`; the
      target itself is none): `close`, `loose` (but no close one), `no`.
    * `in_domain_history`: interactions of the history in the target's domain, by `LENGTH_BINS`.
    * `repeated`: the user had the target before: `yes`, `no`.
    * `cold`: the target never occurs in training: `yes`, `no`.
    * `candidate`: whether it can be recommended at all: `no` of a target that neither training nor
      an items file knows.
    * `item_age`: days between the target's first training interaction and the target's time, by
      `AGE_BINS`; `new` where it has none.
    * `history`: interactions of the history in all domains, by `HISTORY_BINS`.
    * `popularity`: how popular the target is in its domain, by `POPULARITY_BANDS`.

    Args:
        prepared: the dataset; histories are those the models get.
        split: `validation` or `test`.
        with_duplicates: False leaves out `near_duplicate`, for which all of training is read.
    """
    per_day = _units_a_day(prepared)
    duplicates, close = np.zeros(0, np.int64), np.zeros(0, bool)
    if with_duplicates:
        duplicates, close = near_duplicates(prepared, per_day)
    bands = popularity_bands(prepared.catalogue)
    base = prepared.catalogue.num_items + 1
    item_domains = np.concatenate([[-1], prepared.catalogue.item_domains])  # by id
    counts = np.append(0, prepared.catalogue.counts)
    first_days = _days(_first_times(prepared), per_day)
    parts = []
    for rows in _batches(prepared, split):
        lengths = rows["items"].row_lengths().numpy()
        items = rows["items"].flat_values.numpy().astype(np.int64)
        domain, target = rows["domain"].numpy(), rows["target"].numpy().astype(np.int64)
        users = len(target)
        owner = np.repeat(np.arange(users), lengths)
        domains = item_domains[items]
        in_domain = domains == domain[owner]
        days = _days(rows["timestamps"].flat_values.numpy(), per_day)
        same_day = in_domain & (days == _days(rows["target_timestamp"].numpy(), per_day)[owner])
        pairs = target[owner] * base + items
        place = np.searchsorted(duplicates, pairs)
        near = np.append(duplicates, -1)[place] == pairs
        nearer = near & np.append(close, False)[place]
        last = np.full(users, -1)
        last[lengths > 0] = domains[np.cumsum(lengths)[lengths > 0] - 1]
        parts.append(
            {
                "user_id": rows["user_id"].numpy(),
                "last_same": last == domain,
                "has_last": last >= 0,
                "same_day": np.bincount(owner[same_day], minlength=users) > 0,
                "near": np.bincount(owner[near], minlength=users) > 0,
                "close": np.bincount(owner[nearer], minlength=users) > 0,
                "length": np.bincount(owner[in_domain], minlength=users),
                "repeated": np.bincount(owner[items == target[owner]], minlength=users) > 0,
                "candidate": target > 0,
                "count": counts[target],
                "age": _days(rows["target_timestamp"].numpy(), per_day) - first_days[target],
                "history": lengths,
                "band": bands[target],
            }
        )
    of = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    groups = {
        "last_item": {
            "same domain": of["last_same"],
            "other domain": of["has_last"] & ~of["last_same"],
        },
        "same_day": _yes_no(of["same_day"]),
        "near_duplicate": {
            "close": of["close"],
            "loose": of["near"] & ~of["close"],
            "no": ~of["near"],
        },
        "in_domain_history": _binned(of["length"], LENGTH_BINS),
        "repeated": _yes_no(of["repeated"]),
        "cold": _yes_no(of["count"] == 0),
        "candidate": _yes_no(of["candidate"]),
        "item_age": {"new": of["count"] == 0}
        | {
            label: members & (of["count"] > 0)
            for label, members in _binned(np.maximum(of["age"], 0), AGE_BINS).items()
        },
        "history": _binned(of["history"], HISTORY_BINS),
        "popularity": {label: of["band"] == i for i, label in enumerate(POPULARITY_BANDS)},
    }
    if not with_duplicates:
        del groups["near_duplicate"]
    return TargetGroups(of["user_id"], groups)


def breakdown(
    user_ids: np.ndarray, ranks: np.ndarray, targets: TargetGroups
) -> dict[str, dict[str, dict[str, Any]]]:
    """Metrics of each group, and the part it has in all hits, each the mean over seeds.

    Args:
        user_ids: `[users]` bytes, in any order.
        ranks: `[seeds, users]` of the split that `targets` is of, as of `user_gains`.
        targets: from `group_targets`.

    Returns:
        `{name: {group: {"users", "share_of_hits", "hr@10", "ndcg@10", "error"}}}`, plain JSON
        numbers; `share_of_hits` is the group's part of all targets ranked 10th or better, `error`
        the standard error of NDCG@10 over users. Zeros without users or hits.

    Raises:
        ValueError: the two are not of the same users.
    """
    ranked, grouped = np.argsort(user_ids), np.argsort(targets.user_ids)
    if not np.array_equal(user_ids[ranked], targets.user_ids[grouped]):
        raise ValueError(
            "ranks and groups must be of the same users, each once. "
            f"Received: {len(ranked)} and {len(grouped)} users"
        )
    values = {m: user_gains(ranks[:, ranked], m) for m in ("hr@10", "ndcg@10")}
    hits = values["hr@10"].sum(axis=1)

    def row(members):
        members = members[grouped]
        users = int(members.sum())
        means = {m: float(v[:, members].mean()) if users else 0.0 for m, v in values.items()}
        shares = values["hr@10"][:, members].sum(axis=1) / np.maximum(hits, 1)
        gains = values["ndcg@10"][:, members].mean(axis=0)
        error = float(gains.std(ddof=1) / users**0.5) if users > 1 else 0.0
        return {"users": users, "share_of_hits": float(shares.mean()), **means, "error": error}

    return {
        name: {group: row(members) for group, members in groups.items()}
        for name, groups in targets.groups.items()
    }


def popularity_bands(catalogue: Catalogue) -> np.ndarray:
    """Which of `POPULARITY_BANDS` each item is in, `[items + 1]` by id; of equals, by id."""
    ends = [end for end in POPULARITY_BANDS.values() if end is not None]
    bands = np.full(catalogue.num_items + 1, len(ends))
    for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True):
        counts = catalogue.counts[offset - 1 : offset - 1 + size]
        order = np.argsort(-counts, kind="stable")
        parts = (np.arange(size) + 0.5) / max(int((counts > 0).sum()), 1)
        place = np.searchsorted(ends, parts)
        bands[offset + order] = np.where(counts[order] > 0, place, len(ends))
    return bands


def near_duplicates(prepared: PreparedDataset, per_day: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of near-duplicates (see `MIN_SHARED_USERS`), from training rows alone.

    Args:
        prepared: the dataset.
        per_day: how many units of its time make a day.

    Returns:
        Sorted codes `item * (items + 1) + other` `[pairs]` int64 of all pairs, both ways round, and
        which are close `[pairs]` bool.
    """
    catalogue = prepared.catalogue
    base = catalogue.num_items + 1
    item_domains = np.concatenate([[-1], catalogue.item_domains])
    # An item with one row has one user, too few to share; there are very many such items.
    rare = np.concatenate([[True], catalogue.counts < MIN_SHARED_USERS])
    users = np.zeros(base, np.int64)
    codes, counts = [], []
    for rows in _batches(prepared, "train"):
        items = rows["items"].flat_values.numpy().astype(np.int64)
        owner = np.repeat(np.arange(rows["items"].nrows()), rows["items"].row_lengths().numpy())
        users += np.bincount(np.unique(owner * base + items) % base, minlength=base)
        days = _days(rows["timestamps"].flat_values.numpy(), per_day)
        kept = ~rare[items]
        rows_of_pairs = owner[kept], days[kept], item_domains[items[kept]], items[kept]
        code, count = np.unique(_same_day_pairs(*rows_of_pairs, base), return_counts=True)
        codes.append(code)
        counts.append(count)
    pairs, index = np.unique(np.concatenate(codes), return_inverse=True)
    shared = np.bincount(index, weights=np.concatenate(counts), minlength=len(pairs))
    pairs, shared = pairs[shared >= MIN_SHARED_USERS], shared[shared >= MIN_SHARED_USERS]
    first, second = pairs // base, pairs % base
    close = shared >= MIN_SHARED_PART * np.minimum(users[first], users[second])
    both = np.concatenate([pairs, second * base + first])
    order = np.argsort(both)
    return both[order], np.tile(close, 2)[order]


def _same_day_pairs(users, days, domains, items, base: int) -> np.ndarray:
    """Codes `item * base + other`, `item < other`, once a user with both on a day in a domain."""
    order = np.lexsort((items, domains, days, users))
    users, days, domains, items = (column[order] for column in (users, days, domains, items))
    same = (users[1:] == users[:-1]) & (days[1:] == days[:-1]) & (domains[1:] == domains[:-1])
    basket = np.concatenate([[0], np.cumsum(~same)]) if len(users) else np.zeros(0, np.int64)
    new = np.ones(len(users), bool)
    new[1:] = ~same | (items[1:] != items[:-1])
    users, basket, items = users[new], basket[new], items[new]
    sizes = np.bincount(basket)
    # Each row is paired with those after it in its basket.
    after = np.cumsum(sizes)[basket] - np.arange(len(basket)) - 1
    after[sizes[basket] > LARGEST_DAY] = 0
    left = np.repeat(np.arange(len(basket)), after)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(after) - after, after)
    codes = items[left] * base + items[right]
    order = np.lexsort((codes, users[left]))
    left, codes = left[order], codes[order]
    new = np.ones(len(codes), bool)
    new[1:] = (codes[1:] != codes[:-1]) | (users[left[1:]] != users[left[:-1]])
    return codes[new]


def _units_a_day(prepared: PreparedDataset) -> float:
    some = next(_batches(prepared, "train"))["timestamps"].flat_values.numpy()
    return next(units for limit, units in _UNITS if np.abs(some).max(initial=0) < limit)


def _days(timestamps: np.ndarray, per_day: float) -> np.ndarray:
    days = np.floor(timestamps / per_day)
    return np.where(np.isfinite(days), days, 0).astype(np.int64)


def _first_times(prepared: PreparedDataset) -> np.ndarray:
    """When each item was first had in training, by id; `inf` of one that was not."""
    first = np.full(prepared.catalogue.num_items + 1, np.inf)
    for rows in _batches(prepared, "train"):
        np.minimum.at(
            first, rows["items"].flat_values.numpy(), rows["timestamps"].flat_values.numpy()
        )
    return first


def _binned(values: np.ndarray, bins: dict[str, int]) -> dict[str, np.ndarray]:
    """Who is in which of bins, given by label and lower end."""
    places = np.searchsorted(list(bins.values()), values, side="right") - 1
    return {label: places == place for place, label in enumerate(bins)}


def _yes_no(members: np.ndarray) -> dict[str, np.ndarray]:
    return {"yes": members, "no": ~members}


def _batches(prepared: PreparedDataset, split: str) -> Iterator[dict[str, Any]]:
    return iter(prepared.as_dataset(split).ragged_batch(USERS_AT_ONCE))
