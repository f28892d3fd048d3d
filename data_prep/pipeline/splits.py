"""Step 5 of the pipeline: which events train, and which are the targets of validation and test."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_prep.errors import InputError

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from data_prep.engines.base import Engine
    from data_prep.pipeline.user_histories import Histories
    from data_prep.settings import DataConfig

ROLES = 5
TRAIN, VALIDATION, BETWEEN, TEST, UNUSED = range(ROLES)
"""Roles of events. The history of a target is what its user has of lower roles; so events `BETWEEN`
are read with test targets alone, and `UNUSED` ones never."""

MIN_EVALUATED = 3
"""Events a user needs for leave-one-out: one to learn from and two targets."""


def _shown(time: float) -> str:
    return str(time) if isinstance(time, int) else f"{time:.15g}"


class Split(abc.ABC):
    """A rule that gives each event its role.

    Attributes:
      name: the setting that chooses it.
    """

    name: ClassVar[str]

    @property
    @abc.abstractmethod
    def protocol(self) -> str:
        """The rule in words, as `metrics.json` has it."""

    @property
    @abc.abstractmethod
    def about(self) -> str:
        """The rule in words, broken where descriptions of datasets have always been broken."""

    def content(self) -> dict[str, Any]:
        """Returns what a fingerprint needs to know."""
        return {}

    def starts(self, engine: Engine, rows: ir.Table) -> dict[str, float]:
        """Finds the times that periods begin with.

        Args:
          engine: what computes.
          rows: `user_id, item_id, timestamp`, of the engine; equal ones are one event.

        Returns:
          Timestamps by name, oldest first, where there are periods; floats, or exact integers
          where those of `rows` are.

        Raises:
          InputError: a period comes out empty.
        """
        del engine, rows
        return {}

    @abc.abstractmethod
    def roles(self, some: Histories, starts: dict[str, float]) -> np.ndarray:
        """Returns `[events]`, the role of each event.

        Args:
          some: whole users.
          starts: what the method of that name returned.
        """

    def counts(self, first_roles: np.ndarray) -> dict[str, int]:
        """Returns counts worth telling, beside those of every split.

        Args:
          first_roles: `[roles]`, users by the role of their first event.
        """
        del first_roles
        return {}

    @abc.abstractmethod
    def outcome(self, totals: dict[str, Any]) -> str:
        """Says in half a sentence what came out."""

    @abc.abstractmethod
    def require(self, totals: dict[str, Any], after: str) -> None:
        """Raises `InputError` if there is a kind of target of which there is none.

        Args:
          totals: counts by name.
          after: what was done to the log, for the message.
        """


@dataclasses.dataclass(frozen=True)
class LeaveOneOut(Split):
    """Of a user with three events or more the last is for test, the one before it for validation.

    All else trains. Since each user has a time of its own, training events of one user may be later
    than the targets of another.
    """

    name: ClassVar[str] = "leave_one_out"

    @property
    def protocol(self) -> str:
        return (
            "leave-one-out on the merged sequence of users with at least 3 interactions: the last "
            "is the test target, the second to last the validation target"
        )

    @property
    def about(self) -> str:
        return (
            "The last interaction of a user with three or more is the target of\n"
            "split `test`, the one before it of `validation`; the rest is split `train`."
        )

    def roles(self, some: Histories, starts: dict[str, float]) -> np.ndarray:
        roles = np.full(len(some.items), TRAIN)
        ends = some.starts[1:][some.lengths >= MIN_EVALUATED]
        roles[ends - 2], roles[ends - 1] = VALIDATION, TEST
        return roles

    def outcome(self, totals: dict[str, Any]) -> str:
        return f"{totals['evaluated_users']:,} users have {MIN_EVALUATED} or more."

    def require(self, totals: dict[str, Any], after: str) -> None:
        if not totals["evaluated_users"]:
            raise InputError(
                f"None of the {totals['users']:,} users has {MIN_EVALUATED} interactions or more"
                f"{after}, so nothing can be evaluated; check the user column "
                "(--set data.columns.user_id=NAME) or give a longer log."
            )


@dataclasses.dataclass(frozen=True)
class GlobalTime(Split):
    """Two moments part the whole log: what is before the first trains, for everybody.

    A user's first event of a period is its target, if the user did anything before it. Events of
    one timestamp are never parted: those at a cut belong to the later period.

    Attributes:
      validation_share: part of all events before the test period that are the validation period.
      test_share: part of all events, the latest, that are the test period.
    """

    validation_share: float
    test_share: float

    name: ClassVar[str] = "global_time"

    @property
    def protocol(self) -> str:
        return (
            f"global time: the last {100 * self.test_share:g} % of all interactions in time are "
            f"the test period, the {100 * self.validation_share:g} % before them the validation "
            "period, what is earlier trains; a user's first interaction of a period is the target, "
            "all that the user did before it the history; who did nothing before is left out; item "
            "domains and the k-core are those of the training period"
        )

    @property
    def about(self) -> str:
        return (
            f"The last {100 * self.test_share:g} % of all interactions in time\n"
            f"are the period of split `test`, the {100 * self.validation_share:g} % before them of "
            "`validation`, what is earlier is split\n`train`. A user's first interaction of a "
            "period is the target, where the user did anything before."
        )

    def content(self) -> dict[str, Any]:
        # In an earlier version item domains and k-core were of the whole log.
        return {"split": self.name, "looks": "back"} | dataclasses.asdict(self)

    def starts(self, engine: Engine, rows: ir.Table) -> dict[str, float]:
        distinct = rows.select("user_id", "item_id", "timestamp").distinct()
        events = engine.hold(distinct.select("timestamp"))
        total = engine.value(events.count())
        in_time = events.order_by("timestamp").select("timestamp")
        shares = (1.0, self.validation_share + self.test_share, self.test_share)
        places = [total - round(total * share) for share in shares]
        # A place behind the last event has no time: that period is empty, as is one whose first
        # event is as old as that of the period before.
        times = [
            engine.fetch(in_time.limit(1, offset=place))["timestamp"].to_pylist()
            for place in places
        ]
        for period, first, following in zip(
            ("training", "validation", "test"), times, [*times[1:], []], strict=True
        ):
            if first == following:
                self._empty(period, engine, events)
        engine.release(events)
        return {"validation_start": times[1][0], "test_start": times[2][0]}

    def roles(self, some: Histories, starts: dict[str, float]) -> np.ndarray:
        times = some.timestamps
        periods = np.where(times >= starts["validation_start"], VALIDATION, TRAIN)
        periods[times >= starts["test_start"]] = TEST
        first = np.zeros(len(times), bool)
        first[some.starts[:-1]] = True
        enters = ~first & (np.roll(periods, 1) < periods)
        roles = np.where(periods == VALIDATION, BETWEEN, UNUSED)
        return np.where((periods == TRAIN) | enters, periods, roles)

    def counts(self, first_roles: np.ndarray) -> dict[str, int]:
        # Whoever did nothing before a period has a first event there that is no target.
        return {
            "validation_users_left_out": int(first_roles[BETWEEN]),
            "test_users_left_out": int(first_roles[UNUSED]),
        }

    def outcome(self, totals: dict[str, Any]) -> str:
        return (
            f"{totals['validation_users']:,} validation targets from time "
            f"{_shown(totals['validation_start'])} on, {totals['evaluated_users']:,} test targets "
            f"from {_shown(totals['test_start'])} on; left out, without earlier interactions: "
            f"{totals['validation_users_left_out']:,} and {totals['test_users_left_out']:,} users."
        )

    def require(self, totals: dict[str, Any], after: str) -> None:
        for period, targets in (("validation", "validation_users"), ("test", "evaluated_users")):
            if not totals[targets]:
                raise InputError(
                    f"{self._given()}: none of the {totals[f'{period}_users_left_out']:,} users of "
                    f"the {period} period has earlier interactions{after}, so nothing can be "
                    "evaluated; pass other shares or data.split=leave_one_out."
                )

    def _given(self) -> str:
        return (
            f"data.split={self.name} with data.validation_share={self.validation_share} and "
            f"data.test_share={self.test_share}"
        )

    def _empty(self, period: str, engine: Engine, events: ir.Table) -> None:
        time = events.timestamp
        facts = events.aggregate(total=time.count(), oldest=time.min(), newest=time.max())
        row = engine.fetch(facts).to_pylist()[0]
        raise InputError(
            f"{self._given()}: the {period} period is empty; the {row['total']:,} interactions are "
            f"of time {_shown(row['oldest'])} to {_shown(row['newest'])}, and those of one time "
            "stay together. Pass other shares, or data.split=leave_one_out."
        )


def split_of(settings: DataConfig) -> Split:
    """Makes the split that settings ask for."""
    if settings.split == GlobalTime.name:
        return GlobalTime(settings.validation_share, settings.test_share)
    return LeaveOneOut()
