"""Step 3 of the pipeline: which users and items have enough events to stay."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from data_prep.engines.base import Engine


@dataclasses.dataclass(frozen=True)
class Core:
    """What every user and every item that stays must have; the defaults keep everything.

    Attributes:
      min_interactions: events of each user and of each item.
      min_domains: domains of each user, with `min_domain_interactions` events in each of these.
      min_domain_interactions: see there.
    """

    min_interactions: int = 1
    min_domains: int = 1
    min_domain_interactions: int = 1

    @property
    def after(self) -> str:
        """How a message goes on that says what was left: ` after min_interactions=5`."""
        given = [f"{name}={least}" for name, least in self._given().items()]
        return f" after {', '.join(given)}" if given else ""

    def content(self) -> dict[str, Any]:
        """Returns what a fingerprint needs to know."""
        return {"min_interactions": self.min_interactions} | self._given()

    def of(
        self, engine: Engine, events: ir.Table, items: ir.Table, end: float | None = None
    ) -> ir.Table:
        """Drops users and items, again and again until none is left that has too little.

        What stays is the largest part of the events in which all conditions hold, in whatever
        order they are looked at.

        Args:
          engine: what computes.
          events: a table of `user, item, timestamp` made by `hold`, which is released.
          items: `item, domain`.
          end: a time; conditions are those of the events before it. Of later events those of users
            that are dropped go as well, and all others stay: nobody could have judged them.

        Returns:
          A table made by `hold`.
        """
        if not self._given():
            return events
        if end is None:
            return self._largest(engine, events, items)
        early, later = events.filter(events.timestamp < end), events.filter(events.timestamp >= end)
        core = self._largest(engine, engine.hold(early), items)
        dropped = early.anti_join(core, "user")
        kept = engine.hold(core.union(later.anti_join(dropped, "user")))
        engine.release(events, core)
        return kept

    def _largest(self, engine: Engine, events: ir.Table, items: ir.Table) -> ir.Table:
        before = -1
        while (now := engine.value(events.count())) != before:
            before, wider = now, events
            events = engine.hold(self._once(events, items))
            engine.release(wider)
        return events

    def _once(self, events: ir.Table, items: ir.Table) -> ir.Table:
        for side in ("item", "user"):
            if self.min_interactions > 1:
                often = events.group_by(side).having(lambda t: t.count() >= self.min_interactions)
                events = events.semi_join(often.aggregate(), side)
        if self.min_domains > 1 or self.min_domain_interactions > 1:
            least, domains = self.min_domain_interactions, self.min_domains
            placed = events.join(items.select("item", "domain"), "item")
            at_home = placed.group_by("user", "domain").having(lambda t: t.count() >= least)
            wide = at_home.aggregate().group_by("user").having(lambda t: t.count() >= domains)
            events = events.semi_join(wide.aggregate(), "user")
        return events

    def _given(self) -> dict[str, int]:
        return {name: least for name, least in dataclasses.asdict(self).items() if least != 1}
