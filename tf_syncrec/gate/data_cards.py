"""Two data cards side by side: what moved from the current log to the candidate's, and how far."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import Catalogue
from data_prep.pipeline.times import SAMPLE
from tf_syncrec.gate.checks import Check
from tf_syncrec.gate.clocks import compare_times
from tf_syncrec.gate.limits import DataLimits


@dataclasses.dataclass(frozen=True)
class Data:
    """What is known of the data of one side.

    Attributes:
        name: `PreparedDataset.name`.
        card: its data card.
        catalogue: the items that train.
    """

    name: str
    card: Mapping[str, Any]
    catalogue: Catalogue


def compare_data(
    current: Data, candidate: Data, limits: DataLimits, now: float
) -> tuple[list[Check], list[str]]:
    """Looks at everything that two data cards and two catalogues can tell.

    Args:
        current: of what serves people now.
        candidate: of what is to.
        limits: how far a thing may move.
        now: seconds since 1970; rows of later days are of a wrong clock.

    Returns:
        All checks, of the log and then domain by domain; and notes on what could not be looked at,
        or is new without being a reason.
    """
    before, after = current.card, candidate.card
    checks, notes = [*_counts(before, after, limits)], [*_new_domains(before, after)]
    checks += _items(current.catalogue, candidate.catalogue, limits)
    checks += _shared(before, after, limits)
    sides = (("current", before), ("candidate's", after))
    if without := [side for side, card in sides if "times" not in card]:
        notes.append(
            f"the data card of the {' and the '.join(without)} log has no times and user ids: it "
            "was written by an earlier version, so that those were not compared"
        )
    else:
        checks += _users(before, after, limits)
        checks += compare_times(before, after, limits, now)
    return sorted(checks, key=lambda each: each.domain), notes


def _counts(before, after, limits: DataLimits) -> Iterator[Check]:
    """Rows, users and items of the log and of every domain that was there; bad rows."""
    said = f"−{100 * limits.fewer:g} % to +{100 * limits.more:g} %"

    def count(what, domain, old, new):
        within = old * (1 - limits.fewer) <= new <= old * (1 + limits.more)
        return Check(what, "count", old, new, said, not within, domain)

    for name in ("rows", "users", "items"):
        yield count(name, "", before[name]["kept"], after[name]["kept"])
    bad = [
        sum(card["rows"]["bad"].values()) / max(card["rows"]["read"], 1) for card in (before, after)
    ]
    more = bad[1] > bad[0] + limits.bad_rows
    yield Check("bad rows", "share", bad[0], bad[1], f"+{100 * limits.bad_rows:g} points", more)
    for domain, old in before["domains"].items():
        new = after["domains"].get(domain)
        if new is None:
            yield Check("rows", "count", old["interactions"], 0, "present", True, domain)
            continue
        for what, field in (("rows", "interactions"), ("users", "users"), ("items", "items")):
            yield count(what, domain, old[field], new[field])


def _new_domains(before, after) -> Iterator[str]:
    for domain, new in after["domains"].items():
        if domain not in before["domains"]:
            yield f"new domain {domain}: {new['interactions']:,} rows of {new['users']:,} users"


def _items(before: Catalogue, after: Catalogue, limits: DataLimits) -> Iterator[Check]:
    """How many of the items that trained are called as they were, domain by domain."""
    for index, domain in enumerate(before.domains):
        old = before.item_ids[(before.item_domains == index) & (before.counts > 0)]
        if domain not in after.domains or not len(old):
            continue
        new = after.item_ids[
            (after.item_domains == after.domains.index(domain)) & (after.counts > 0)
        ]
        share = float(np.isin(old.astype(str), new.astype(str)).mean())
        lost, least = share < limits.kept_ids, f"{100 * limits.kept_ids:g} % or more"
        yield Check("kept item ids", "share", 1.0, share, least, lost, domain)


def _shared(before, after, limits: DataLimits) -> Iterator[Check]:
    """Users of a domain who are in another: none, where one feed has other user ids."""

    def shares(card):
        shared = np.asarray(card["shared_users"], float)
        users = np.maximum(shared.diagonal(), 1)
        # With any one of the others; a card has them pair by pair.
        other = np.where(np.eye(len(shared), dtype=bool), 0, shared).max(axis=1, initial=0)
        return dict(zip(card["domains"], (other / users).tolist(), strict=True))

    old, new = shares(before), shares(after)
    for domain in old.keys() & new.keys():
        yield Check(
            "multi-domain users",
            "share",
            old[domain],
            new[domain],
            f"{100 * limits.shared_users:g} % of the current or more",
            new[domain] < limits.shared_users * old[domain],
            domain,
        )


def _users(before, after, limits: DataLimits) -> Iterator[Check]:
    share = kept_share(
        *(before["times"]["users"], before["users"]["kept"]),
        *(after["times"]["users"], after["users"]["kept"]),
    )
    lost, least = share < limits.kept_ids, f"{100 * limits.kept_ids:g} % or more"
    yield Check("kept user ids", "share", 1.0, share, least, lost)


def kept_share(old: Sequence[str], olds: int, new: Sequence[str], news: int) -> float:
    """Which part of the users of one log is in another, from samples of both.

    A sample has the users of the lowest hashes. Up to the lower of the highest hashes of both
    samples each holds everybody that its log has, so that there the share can be counted.

    Args:
        old: sample of the first log, ascending.
        olds: users of that log.
        new: sample of the second.
        news: its users.
    """
    ends = [some[-1] for some, users in ((old, olds), (new, news)) if some and users > SAMPLE]
    drawn = {user for user in old if not ends or user <= min(ends)}
    return len(drawn & set(new)) / max(len(drawn), 1)
