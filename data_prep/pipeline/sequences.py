"""The pipeline from interactions to one sequence a user.

1. An item belongs to one domain: that of most of its rows, the alphabetically first on a tie. Where
   a split has periods, only the first one with such rows counts, since later ones would look ahead.
2. Rows with the same user, item and timestamp are one event.
3. Optionally, items and users with too few events are dropped until none is left, where a split has
   periods, too few in the training period; see `k_core`.
4. A user's events are ordered by timestamp; inside a tie, which no log can order, by a hash.
5. A split says which events train and which are targets of validation and test: leave-one-out on
   each user's sequence, or periods of one time for everybody; see `splits`.
6. Items of training events get ids 1..N, contiguous by domain; 0 is padding or unknown. So do the
   items of a file of items, behind those of their domain that train; see `cold_items`.

What joins and sorts the log are Ibis expressions, with users and items as numbers: texts are
compared once. They end in a stream of whole users, which the rest takes batch by batch in numpy:
once to count, and once a split to write. Every step is a set operation with a total order, so
neither the order of the input's rows nor the number of threads shows in the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from data_prep.catalogue import Catalogue
from data_prep.engines.base import Engine
from data_prep.errors import InputError
from data_prep.pipeline import user_histories
from data_prep.pipeline.cold_items import cold_items, describe_items, with_cold_items
from data_prep.pipeline.event_counts import EventCounts
from data_prep.pipeline.k_core import Core
from data_prep.pipeline.repeats import decide, describe_repeats
from data_prep.pipeline.splits import TEST, TRAIN, LeaveOneOut, Split
from data_prep.pipeline.user_histories import Histories
from data_prep.read.items.item_table import Items

EVERYTHING, LEAVE_ONE_OUT = Core(), LeaveOneOut()
BATCH = 200_000
"""Events taken from the engine at a time."""


@ibis.udf.scalar.builtin
def md5(value: str) -> str:  # type: ignore[empty-body]
    """The engine's own md5, as lower-case hexadecimal digits."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a split: one a user, with a history and, but for training, a target.

    Attributes:
      user_ids: `[users]` strings.
      starts: `[users + 1]`, where each user's history starts, and the length of all.
      ids: `[events]` int32, items of the histories, oldest first.
      timestamps: `[events]` float64, in the unit of the log.
      targets: `[users]` ids; 0 for an unknown item, and for training.
      target_item_ids: `[users]` strings; empty for training.
      domains: `[users]`, that of the target; -1 for training.
      target_timestamps: `[users]` float64; 0 for training.
      basket_starts: `[users + 1]`, as `starts`, of the baskets.
      baskets: all that the user did in the target's domain at the target's time, the target as
        well: ids, in any order; 0 for an unknown item. Empty for training.
    """

    user_ids: pa.Array
    starts: np.ndarray
    ids: np.ndarray
    timestamps: np.ndarray
    targets: np.ndarray
    target_item_ids: pa.Array
    domains: np.ndarray
    target_timestamps: np.ndarray
    basket_starts: np.ndarray
    baskets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The pipeline's result.

    Attributes:
      path: the file of histories, see `user_histories.read`; gone when the engine is closed.
      assign: gives the role of each event, see `splits`.
      item_ids: `[items]` large strings by code, of all items of the log.
      item_domains: `[items]`, index into `catalogue.domains`.
      ids: `[items]` int32, 0 for an item without training rows that no file of items has.
      catalogue: the known items.
      counts: events and users by role, domain and length.
      statistics: counts worth telling, by name.
      ticks: how many units of the timestamps in the file are one of the log.
    """

    path: Path
    assign: Callable[[Histories], np.ndarray]
    item_ids: pa.Array
    item_domains: np.ndarray
    ids: np.ndarray
    catalogue: Catalogue
    counts: EventCounts
    statistics: dict[str, Any]
    ticks: int = 1

    def rows(self, role: int) -> Iterator[Rows]:
        """Reads a split, in a fixed order of users unrelated to ids.

        Args:
          role: `TRAIN` for the training events alone; `VALIDATION` or `TEST` for the known events
            before the target of that kind, and the target. Without such a target a user is left
            out.

        Yields:
          Its rows, some at a time.
        """
        for some in user_histories.read(self.path):
            rows = self._rows(some, role)
            if len(rows.user_ids):
                yield rows

    def _rows(self, some: Histories, role: int) -> Rows:
        roles, ids = self.assign(some), self.ids[some.items]
        basket = np.zeros(len(ids), bool)
        if role == TRAIN:
            before = roles == TRAIN
        else:
            last = np.flatnonzero(roles == role)  # One a user at most.
            users = np.searchsorted(some.starts, last, side="right") - 1
            chosen = np.zeros(len(some.user_ids), bool)
            chosen[users] = True
            before = (roles < role) & (ids > 0) & np.repeat(chosen, some.lengths)
            basket = self._basket(some, users, last) & ((roles != TEST) | (role == TEST))
        lengths, sizes = (
            np.add.reduceat(which, some.starts[:-1], dtype=np.int64) for which in (before, basket)
        )
        stored = in_units(some.timestamps, self.ticks)
        if role == TRAIN:
            users = np.flatnonzero(lengths)
            domains, targets, times = np.full(len(users), -1), 0 * users, 0.0 * users
            names = pa.repeat(pa.scalar("", pa.large_string()), len(users))
        else:
            items = some.items[last]
            domains, targets, times = self.item_domains[items], ids[last], stored[last]
            names = self.item_ids.take(pa.array(items))
        return Rows(
            user_ids=some.user_ids.take(pa.array(users)),
            starts=np.append(0, lengths[users].cumsum()),
            ids=ids[before],
            timestamps=stored[before],
            targets=targets,
            target_item_ids=names,
            domains=domains,
            target_timestamps=times,
            basket_starts=np.append(0, sizes[users].cumsum()),
            baskets=ids[basket],
        )

    def _basket(self, some: Histories, users: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Which events are of the moment and domain of their user's target, `[events]`.

        Args:
          some: whole users.
          users: those who have a target.
          targets: place of each one's.
        """
        domains = np.full(len(some.user_ids), -1)
        domains[users] = self.item_domains[some.items[targets]]
        times = np.zeros(len(some.user_ids), some.timestamps.dtype)
        times[users] = some.timestamps[targets]
        owners = some.owners
        same_domain = self.item_domains[some.items] == domains[owners]
        return same_domain & (some.timestamps == times[owners])


def build_sequences(
    engine: Engine,
    interactions: ir.Table,
    core: Core = EVERYTHING,
    report: Callable[[str], None] = lambda line: None,
    split: Split = LEAVE_ONE_OUT,
    batch_rows: int = BATCH,
    held: Iterable[ir.Table] = (),
    ticks: int = 1,
    repeats: str = "auto",
    items: Items | None = None,
) -> Sequences:
    """Runs the pipeline.

    Args:
      engine: what holds `interactions`.
      interactions: `user_id, item_id, domain, timestamp` without nulls.
      core: the rule of step 3.
      report: told one line a step.
      split: the rule of step 5.
      batch_rows: events taken from the engine at a time.
      held: tables that `interactions` consists of, released when it has been read: their texts
        are most of what the engine holds.
      ticks: how many units of `timestamp` are one of the log, see `Reading`.
      repeats: the setting, see `pipeline.repeats`.
      items: what a file says of items, which are known as well.

    Returns:
      The sequences and what is known about them.

    Raises:
      InputError: fewer than two domains are left, or no target, or the file is of other items.
    """
    starts = split.starts(engine, interactions)
    numbered = engine.hold(items_of(interactions, list(starts.values())))
    users = engine.hold(users_of(interactions))
    everything = engine.hold(events_of(interactions, users, numbered))
    before = _before_core(engine, interactions, users, numbered, everything)
    engine.release(*held)
    events = core.of(engine, everything, numbered, starts.get("validation_start"))
    left = numbered if events is everything else numbered.semi_join(events, "item")
    domains = engine.fetch(left.select("domain").distinct())[0].to_pylist()
    _require_domains(domains, core.after)
    logged = engine.fetch(numbered.order_by("item").select("item_id", "domain"))
    item_ids = logged["item_id"].cast(pa.large_string()).combine_chunks()
    path = engine.folder / "histories.arrow"
    settled = settled_histories(engine, events, users, item_ids, batch_rows)
    user_histories.write(settled, path, interactions.timestamp.type().to_pyarrow())
    engine.release(numbered, users, events)

    def assign(some: Histories) -> np.ndarray:
        return split.roles(some, starts)

    counts = EventCounts(logged["domain"].dictionary_encode().combine_chunks())
    for some in user_histories.read(path):
        counts.add(some, assign(some))
    told = dict(starts)
    if ticks > 1:
        times = in_units(np.array([*starts.values()]), ticks)
        told = dict(zip(starts, times.tolist(), strict=True))
    totals = told | before | counts.totals() | split.counts(counts.first_roles)
    report(
        f"Kept {totals['events']:,} events of {totals['users']:,} users; {split.outcome(totals)}"
    )
    split.require(totals, core.after)
    catalogue, ids = _catalogue(counts, item_ids, repeats)
    totals["known_items"] = catalogue.num_items
    if items is not None:
        cold = cold_items(items, item_ids, counts)
        catalogue, ids = with_cold_items(catalogue, ids, cold)
        totals |= cold.totals | {"cold_test_targets": _cold_targets(counts, catalogue, ids)}
    totals["unknown_test_targets"] = int(counts.events[TEST, ids == 0].sum())
    report(f"Indexed {totals['known_items']:,} items of {catalogue.num_domains} domains.")
    for line in [] if items is None else describe_items(items, totals):
        report(line)
    if said := describe_repeats(catalogue.domains, counts.repeated_share, catalogue.repeats):
        report(said)
    return Sequences(
        path, assign, item_ids, counts.item_domains, ids, catalogue, counts, totals, ticks
    )


def settled_histories(
    engine: Engine,
    events: ir.Table,
    users: ir.Table,
    item_ids: pa.Array,
    batch_rows: int = BATCH,
) -> Iterator[Histories]:
    """Step 4: all that each user did, in order, in an order of users unrelated to ids.

    Args:
      engine: what holds the tables.
      events: of `events_of`, or some of them.
      users: of `users_of`.
      item_ids: the items' names by number.
      batch_rows: events taken from the engine at a time.
    """
    names = engine.stream(users.order_by("user").select("user_id"), batch_rows)
    user_ids = user_histories.user_ids(names, engine.folder / "users.arrow")
    stream = engine.stream(events.order_by("user", "timestamp"), batch_rows)
    for some in user_histories.whole_users(stream, user_ids):
        yield user_histories.settle_ties(some, item_ids)


def in_units(times: np.ndarray, ticks: int) -> np.ndarray:
    """Times of a file of histories as the dataset stores them: float64 in the log's unit."""
    if ticks == 1:
        return times.astype(np.float64)
    # Of sizes: a moment before 1970 would be a difference, which has fewer digits.
    whole, part = np.divmod(np.abs(times), ticks)
    return np.sign(times) * (whole + part / ticks)


def items_of(rows: ir.Table, starts: Sequence[float | int] = ()) -> ir.Table:
    """Step 1: `item, item_id, domain, listings, elsewhere`.

    `item` is a number, in the order of domain and name; `listings` in how many domains the item was
    seen, `elsewhere` how many rows name another.

    Args:
      rows: `item_id, domain, timestamp`.
      starts: times at which periods after the first one begin.
    """
    period = sum(((rows.timestamp >= start).cast("int8") for start in starts), ibis.literal(0))
    apart = rows.group_by("item_id", "domain", period=period).aggregate(rows=lambda t: t.count())
    first = apart.period == apart.period.min().over(group_by="item_id")
    apart = apart.mutate(telling=ibis.ifelse(first, apart.rows, 0))
    counts = apart.group_by("item_id", "domain").aggregate(
        rows=apart.rows.sum(), telling=apart.telling.sum()
    )
    best = ibis.window(group_by="item_id", order_by=[ibis.desc("telling"), ibis.asc("domain")])
    ranked = counts.mutate(
        place=ibis.row_number().over(best),
        listings=counts.count().over(group_by="item_id"),
        elsewhere=counts.rows.sum().over(group_by="item_id") - counts.rows,
    )
    owned = ranked.filter(ranked.place == 0)
    number = ibis.row_number().over(order_by=["domain", "item_id"]).cast("int32")
    return owned.select("item_id", "domain", "listings", "elsewhere", item=number)


def users_of(rows: ir.Table) -> ir.Table:
    """`user, user_id`; `user` is a number, in an order unrelated to ids."""
    users = rows.select("user_id").distinct()
    number = ibis.row_number().over(order_by=[md5(users.user_id), users.user_id])
    return users.select("user_id", user=number)


def events_of(rows: ir.Table, users: ir.Table, items: ir.Table) -> ir.Table:
    """Step 2: `user, item, timestamp`."""
    numbered = rows.join(users, "user_id").join(items.select("item_id", "item"), "item_id")
    return numbered.select("user", "item", "timestamp").distinct()


def _catalogue(
    counts: EventCounts, item_ids: pa.Array, repeats: str
) -> tuple[Catalogue, np.ndarray]:
    """The items that train, and the id of each item of the log, 0 for one that does not."""
    codes = _by_id(counts)
    ids = np.zeros(len(item_ids), np.int32)
    ids[codes] = np.arange(1, len(codes) + 1)
    catalogue = Catalogue(
        domains=counts.domains,
        item_ids=item_ids.take(pa.array(codes)).to_numpy(zero_copy_only=False),
        item_domains=counts.item_domains[codes],
        counts=counts.events[TRAIN, codes],
        repeats=decide(repeats, counts.repeated_share),
    )
    return catalogue, ids


def _cold_targets(counts: EventCounts, catalogue: Catalogue, ids: np.ndarray) -> int:
    return int(counts.events[TEST, catalogue.cold[ids]].sum())


def _by_id(counts: EventCounts) -> np.ndarray:
    """Step 6: the codes of the items in training events, in the order of their ids."""
    trained = counts.events[TRAIN]
    codes = np.flatnonzero(trained)
    # Codes are in the order of domain and name; the sort is stable.
    return codes[np.lexsort((-trained[codes], counts.item_domains[codes]))]


def _before_core(
    engine: Engine, rows: ir.Table, users: ir.Table, items: ir.Table, events: ir.Table
) -> dict[str, int]:
    counts = items.aggregate(
        items_before_core=items.count(),
        items_in_several_domains=(items.listings > 1).sum(),
        rows_in_another_domain=items.elsewhere.sum(),
    )
    found = {"rows": engine.value(rows.count())} | engine.fetch(counts).to_pylist()[0]
    found["distinct_events"] = engine.value(events.count())
    found["users_before_core"] = engine.value(users.count())
    return {name: int(value or 0) for name, value in found.items()}


def _require_domains(domains: list[str], after: str) -> None:
    if not domains:
        raise InputError(f"No interaction is left{after}; lower data.min_interactions.")
    if len(domains) == 1:
        raise InputError(
            f"There is one domain only{after} ('{domains[0]}'), and two or more are needed; give "
            "more categories, or name the right column with --set data.columns.domain=NAME."
        )
