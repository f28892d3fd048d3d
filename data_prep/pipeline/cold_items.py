"""Items that a file of items has and no training event: candidates like any other.

Their domain is that of the log, if the log has rows of them, be they later than the training or
dropped, since a target is looked for where its row says it is; else what the file says. An item
whose domain nobody says, or says one that the log has not, is left out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.catalogue import Catalogue
from data_prep.errors import InputError
from data_prep.pipeline.event_counts import EventCounts
from data_prep.pipeline.splits import TRAIN
from data_prep.read.items.item_table import Items

FEW = 0.5
"""Where a file knows fewer items of every domain than that, it may be of another log."""


@dataclasses.dataclass(frozen=True)
class ColdItems:
    """Items that become known, in the order of domain and name.

    Attributes:
      item_ids: `[items]` large strings.
      domains: `[items]` int, index into the log's domains.
      codes: `[items]`, their place among all items of the log; -1 where it has no row of them.
      totals: counts worth telling, by name.
    """

    item_ids: pa.Array
    domains: np.ndarray
    codes: np.ndarray
    totals: dict[str, Any]


def cold_items(items: Items, item_ids: pa.Array, counts: EventCounts) -> ColdItems:
    """Finds them and their domains.

    Args:
      items: what the file says.
      item_ids: all items of the log by code.
      counts: of the log's events.

    Returns:
      The items, and in `totals`:

      - `listed_items`: rows of the file
      - `listed_items_left_out`: of these, items without a domain of the log
      - `listed_in_another_domain`: items that the file and the log have in different domains
      - `unlisted_items`: domain → items of the log's events that the file has not
      - `items_of_domain`: domain → items of the log's events
      - `cold_items`: domain → items that become known

    Raises:
      InputError: none of the log's items is in the file.
    """
    listed = items.table
    names = pc.cast(listed["item_id"], pa.large_string()).combine_chunks()
    found = pc.index_in(names, value_set=item_ids)
    codes = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    used = counts.events.sum(axis=0) > 0
    covered = np.zeros(len(item_ids), bool)
    covered[codes[codes >= 0]] = True
    if not np.any(covered & used):
        raise InputError(
            f"{items.label}: none of the {int(used.sum()):,} items of the log is in it; its first "
            f"is '{names[0].as_py()}', the log's '{item_ids[int(np.argmax(used))].as_py()}'; does "
            "it belong to another log, or use other ids?"
        )
    of_file = _indexes(listed, counts.domains)
    of_log = counts.log_domains
    domains = np.where(codes >= 0, of_log[codes], of_file)
    trains = np.append(counts.events[TRAIN] > 0, False)[codes]
    differs = (codes >= 0) & (of_file >= 0) & (of_file != of_log[codes])
    chosen = np.flatnonzero(~trains & (domains >= 0))
    order = pc.sort_indices(
        pa.table({"domain": domains[chosen], "name": names.take(pa.array(chosen))}),
        sort_keys=[("domain", "ascending"), ("name", "ascending")],
    )
    chosen = chosen[order.to_numpy()]
    number = len(counts.domains)

    def by_domain(which: np.ndarray) -> dict[str, int]:
        found = np.bincount(which, minlength=number).tolist()
        return dict(zip(counts.domains, found, strict=True))

    totals = {
        "listed_items": len(names),
        "listed_items_left_out": int(np.sum(~trains & (domains < 0))),
        "listed_in_another_domain": int(np.sum(differs)),
        "unlisted_items": by_domain(counts.item_domains[used & ~covered]),
        "items_of_domain": by_domain(counts.item_domains[used]),
        "cold_items": by_domain(domains[chosen]),
    }
    return ColdItems(names.take(pa.array(chosen)), domains[chosen], codes[chosen], totals)


def _indexes(listed: pa.Table, domains: tuple[str, ...]) -> np.ndarray:
    """`[rows]`: the domain that the file says, -1 for none, or one that the log has not."""
    if "domain" not in listed.column_names:
        return np.full(len(listed), -1)
    known = pa.array(domains, pa.string())
    found = pc.index_in(listed["domain"].cast(pa.string()).combine_chunks(), value_set=known)
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def with_cold_items(
    catalogue: Catalogue, ids: np.ndarray, cold: ColdItems
) -> tuple[Catalogue, np.ndarray]:
    """Puts cold items behind the trained ones of their domain.

    Args:
      catalogue: of trained items.
      ids: `[items of the log]`, the id of each by code; 0: none.
      cold: of `cold_items`.

    Returns:
      The catalogue of both, and the ids in it.
    """
    domains = np.concatenate([catalogue.item_domains, cold.domains.astype(np.int32)])
    order = np.argsort(domains, kind="stable")
    names = cold.item_ids.to_numpy(zero_copy_only=False)
    whole = Catalogue(
        domains=catalogue.domains,
        item_ids=np.concatenate([catalogue.item_ids, names])[order],
        item_domains=domains[order],
        counts=np.concatenate([catalogue.counts, np.zeros(len(names), np.int64)])[order],
        repeats=catalogue.repeats,
    )
    new_ids = np.empty(len(order) + 1, np.int32)
    new_ids[0], new_ids[order + 1] = 0, np.arange(1, len(order) + 1)
    moved = new_ids[ids]
    logged = cold.codes >= 0
    moved[cold.codes[logged]] = new_ids[catalogue.num_items + 1 :][logged]
    return whole, moved


def describe_items(items: Items, totals: dict[str, Any]) -> list[str]:
    """Says what the file brings, and what does not fit between it and the log.

    Args:
      items: what the file says.
      totals: of `ColdItems`.
    """
    label = items.label
    lines = [
        f"Indexed {sum(totals['cold_items'].values()):,} items without training events, of {label}."
    ]
    for name, what in {
        "repeated_rows": "repeat an earlier row",
        "conflicting_rows": "differ from an earlier row of their item, which counts",
    }.items():
        if rows := items.faults.get(name):
            lines.append(f"{label}: {rows:,} rows {what}.")
    for name, number in items.faults.items():
        if name.startswith("unread:"):
            column = name.partition(":")[2]
            lines.append(f"{label}: {number:,} values of '{column}' are no numbers: missing.")
    if "domain" not in items.table.column_names:
        lines.append(
            f"{label}: has no column 'domain', so that of the items without training events only "
            "the later ones of the log are candidates: their metrics are optimistic."
        )
    missing = {name: n for name, n in totals["unlisted_items"].items() if n}
    every = sum(totals["items_of_domain"].values())
    share = 1 - sum(missing.values()) / max(every, 1)
    if missing:
        parts = ", ".join(
            f"{name} {n:,} of {totals['items_of_domain'][name]:,}" for name, n in missing.items()
        )
        most = max(1 - missing.get(name, 0) / n for name, n in totals["items_of_domain"].items())
        few = "; does it belong to this log?" if most < FEW else "."
        lines.append(f"{label}: covers {share:.1%} of the log's items; missing: {parts}{few}")
    if left_out := totals["listed_items_left_out"]:
        lines.append(
            f"{label}: {left_out:,} items without training events are left out: neither the "
            "log nor the column 'domain' gives them a domain of the log."
        )
    if other := totals["listed_in_another_domain"]:
        lines.append(f"{label}: {other:,} items have another domain in the log, which is used.")
    return lines
