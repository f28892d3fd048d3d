"""The pipeline from interactions to one sequence a user, as Ibis expressions.

1. An item belongs to one domain: that of most of its rows, the alphabetically first on a tie.
2. Rows with the same user, item and timestamp are one event.
3. Optionally, items and users with too few events are dropped until none is left; see `core`.
4. A user's events are ordered by timestamp; inside a tie, which no log can order, by a hash.
5. A split says which events train and which are targets of validation and test: leave-one-out on
   each user's sequence, or periods of one time for everybody; see `splits`.
6. Items of training events get ids 1..N, contiguous by domain; 0 is padding or unknown.

Every step is a set operation with a total order, so neither the order of the input's rows nor the
number of threads shows in the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.catalogue import Catalogue
from data_prep.core import Core
from data_prep.engine import Engine
from data_prep.errors import InputError
from data_prep.splits import TEST, TRAIN, VALIDATION, LeaveOneOut, Split

EVERYTHING, LEAVE_ONE_OUT = Core(), LeaveOneOut()
_SEPARATOR = "\x1f"  # Keeps ("ab", "c") and ("a", "bc") apart in the hash.


@ibis.udf.scalar.builtin
def md5(value: str) -> str:  # type: ignore[empty-body]
    """The engine's own md5, as lower-case hexadecimal digits."""


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The pipeline's result.

    Attributes:
      engine: what holds `events`.
      events: one row an event: `user_id, user_key, position, role, item_id, id, domain_index,
        timestamp`, with `role` as `splits` has them and `id` 0 for an item without training
        rows.
      catalogue: the known items.
      statistics: counts worth telling, by name.
    """

    engine: Engine
    events: ir.Table
    catalogue: Catalogue
    statistics: dict[str, Any]

    def batches(
        self, role: int, batch_rows: int = 200_000
    ) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Streams users with their events, in a fixed order unrelated to ids.

        Args:
          role: `TRAIN` for the training events alone; `VALIDATION` or `TEST` for the known events
            before the target of that kind, and the target as the last row. Without such a target
            a user is left out.
          batch_rows: rows taken from the engine at a time.

        Yields:
          Whole users: a table of `user_id, id, timestamp, item_id, domain_index`, a user's rows
          together and oldest first, and where each user starts, with the number of rows at the end.
        """
        events = self.events
        rows = events.filter((events.role == role) | ((events.role < role) & (events.id > 0)))
        if role in (VALIDATION, TEST):
            targets = events.filter(events.role == role)
            rows = rows.semi_join(targets.select("user_id"), "user_id")
        rows = rows.order_by("user_key", "user_id", "position")
        rows = rows.select("user_id", "id", "timestamp", "item_id", "domain_index")
        pending: pa.Table | None = None
        for batch in self.engine.stream(rows, batch_rows):
            table = pa.Table.from_batches([batch])
            if pending is not None:
                table = pa.concat_tables([pending, table]).combine_chunks()
            users = table["user_id"]
            starts = np.append(0, 1 + np.flatnonzero(pc.not_equal(users[1:], users[:-1])))
            # The last user may go on in the next batch.
            pending = table.slice(int(starts[-1]))
            yield table, starts
        if pending is not None:
            yield pending, np.array([0, pending.num_rows])


def build_sequences(
    engine: Engine,
    interactions: ir.Table,
    core: Core = EVERYTHING,
    report: Callable[[str], None] = lambda line: None,
    split: Split = LEAVE_ONE_OUT,
) -> Sequences:
    """Runs the pipeline.

    Args:
      engine: what holds `interactions`.
      interactions: `user_id, item_id, domain, timestamp` without nulls.
      core: the rule of step 3.
      report: told one line a step.
      split: the rule of step 5.

    Returns:
      The sequences and what is known about them.

    Raises:
      InputError: fewer than two domains are left, or no target.
    """
    owners = engine.hold(item_domains(interactions))
    distinct = interactions.select("user_id", "item_id", "timestamp").distinct()
    merged = engine.hold(distinct.join(owners.select("item_id", "domain"), "item_id"))
    before = _before_core(engine, interactions, owners, merged)
    merged, after = core.of(engine, merged), core.after
    domains = sorted(engine.fetch(merged.select("domain").distinct())[0].to_pylist())
    _require_domains(domains, after)
    starts = split.starts(engine, merged)
    events = engine.hold(split.assign(order(merged), starts))
    totals = starts | before | _totals(engine, events, split)
    engine.release(owners, merged)
    report(
        f"Kept {totals['events']:,} events of {totals['users']:,} users; {split.outcome(totals)}"
    )
    split.require(totals, after)
    vocabulary = engine.hold(vocabulary_of(events))
    catalogue = _catalogue(engine, vocabulary, domains)
    coded = engine.hold(_with_ids(engine, events, vocabulary, domains))
    engine.release(events, vocabulary)
    unknown = (coded.id == 0) & (coded.role == TEST)
    totals["known_items"] = catalogue.num_items
    totals["unknown_test_targets"] = engine.value(unknown.sum()) or 0
    report(f"Indexed {catalogue.num_items:,} items of {catalogue.num_domains} domains.")
    return Sequences(engine, coded, catalogue, totals)


def item_domains(rows: ir.Table) -> ir.Table:
    """Step 1: `item_id, domain`, in how many domains it was seen, and how many rows name others."""
    counts = rows.group_by("item_id", "domain").aggregate(rows=lambda t: t.count())
    best = ibis.window(group_by="item_id", order_by=[ibis.desc("rows"), ibis.asc("domain")])
    ranked = counts.mutate(
        place=ibis.row_number().over(best),
        listings=counts.count().over(group_by="item_id"),
        elsewhere=counts.rows.sum().over(group_by="item_id") - counts.rows,
    )
    return ranked.filter(ranked.place == 0).select("item_id", "domain", "listings", "elsewhere")


def order(events: ir.Table) -> ir.Table:
    """Step 4: adds `position` (0 is the oldest) and `size` (the user's number of events).

    An order by item id or domain inside a tie would let a model read the target off the order;
    the hash is of user and item, so that no item comes first for everybody.
    """
    tie = md5(events.user_id.concat(_SEPARATOR, events.item_id))
    ordered = events.mutate(tie=tie)
    window = ibis.window(group_by="user_id", order_by=["timestamp", "tie", "item_id"])
    return ordered.mutate(
        position=ibis.row_number().over(window),
        size=ordered.count().over(group_by="user_id"),
    ).drop("tie")


def vocabulary_of(events: ir.Table) -> ir.Table:
    """Step 6: `item_id, domain, count, id` of the items in training events."""
    train = events.filter(events.role == TRAIN)
    counts = train.group_by("domain", "item_id").aggregate(count=lambda t: t.count())
    window = ibis.window(order_by=["domain", ibis.desc("count"), "item_id"])
    return counts.mutate(id=(ibis.row_number().over(window) + 1).cast("int32"))


def _with_ids(
    engine: Engine, events: ir.Table, vocabulary: ir.Table, domains: list[str]
) -> ir.Table:
    index = pa.array(range(len(domains)), pa.int32())
    names = engine.table(pa.table({"domain": domains, "domain_index": index}))
    joined = events.left_join(vocabulary.select("item_id", "id"), "item_id")
    joined = joined.drop("item_id_right").join(names, "domain")
    return joined.select(
        "user_id", "position", "role", "item_id", "domain_index", "timestamp",
        user_key=md5(joined.user_id),
        id=joined.id.fill_null(0).cast("int32"),
    )  # fmt: skip


def _catalogue(engine: Engine, vocabulary: ir.Table, domains: list[str]) -> Catalogue:
    table = engine.fetch(vocabulary.order_by("id").select("item_id", "domain", "count"))
    # Sorted by domain, so that each domain's code is repeated as often as it has items.
    sizes = {row["values"]: row["counts"] for row in table["domain"].value_counts().to_pylist()}
    codes = np.arange(len(domains), dtype=np.int32)
    return Catalogue(
        domains=tuple(domains),
        item_ids=table["item_id"].to_numpy(),
        item_domains=np.repeat(codes, [sizes.get(name, 0) for name in domains]),
        counts=table["count"].to_numpy(),
    )


def _before_core(
    engine: Engine, rows: ir.Table, owners: ir.Table, merged: ir.Table
) -> dict[str, Any]:
    return _counted(
        engine,
        rows.aggregate(rows=rows.count()),
        owners.aggregate(
            items_before_core=owners.count(),
            items_in_several_domains=(owners.listings > 1).sum(),
            rows_in_another_domain=owners.elsewhere.sum(),
        ),
        merged.aggregate(
            distinct_events=merged.count(), users_before_core=merged.user_id.nunique()
        ),
    )


def _totals(engine: Engine, events: ir.Table, split: Split) -> dict[str, Any]:
    return _counted(
        engine,
        events.aggregate(
            events=events.count(),
            users=(events.position == 0).sum(),
            validation_users=(events.role == VALIDATION).sum(),
            evaluated_users=(events.role == TEST).sum(),
            items=events.item_id.nunique(),
            **split.counts(events),
        ),
    )


def _counted(engine: Engine, *tables: ir.Table) -> dict[str, Any]:
    rows = [engine.fetch(table).to_pylist()[0] for table in tables]
    return {name: int(value or 0) for row in rows for name, value in row.items()}


def _require_domains(domains: list[str], after: str) -> None:
    if not domains:
        raise InputError(f"No interaction is left{after}; lower data.min_interactions.")
    if len(domains) == 1:
        raise InputError(
            f"There is one domain only{after} ('{domains[0]}'), and two or more are needed; give "
            "more categories, or name the right column with --set data.columns.domain=NAME."
        )
