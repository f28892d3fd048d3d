"""Beyond what a log or a model is held back: every limit with its reason, each an option."""

import argparse
import dataclasses
from typing import Any

from data_prep import InputError


def _limit(default: float, about: str, most: float = float("inf"), least: float = 0.0) -> Any:
    return dataclasses.field(
        default=default, metadata={"about": about, "most": most, "least": least}
    )


@dataclasses.dataclass(frozen=True)
class DataLimits:
    """How far a log may be from that of the current run."""

    fewer: float = _limit(0.2, "largest relative decrease of rows, users and items", 1.0)
    more: float = _limit(1.0, "largest relative increase of rows, users and items")
    kept_ids: float = _limit(
        0.5, "smallest share of the current user and item ids that the new log still has", 1.0
    )
    shared_users: float = _limit(
        0.5,
        "users of a domain who are also in another one: smallest ratio of the new share to the "
        "current",
        1,
    )
    daily_rows: float = _limit(
        0.5,
        "new rows per day, relative to the last 28 days of the current log: at least this, and at "
        "most 1 divided by it",
        1.0,
    )
    days_late: float = _limit(
        2.0, "by how many more days than before a domain may end before the log does"
    )
    future_rows: float = _limit(
        0.001, "largest share of rows with a timestamp of a future day", 1.0
    )
    gap_factor: float = _limit(
        2.0,
        "largest factor by which the median time between two rows of a user may change",
        least=1.0,
    )
    tied_rows: float = _limit(
        0.01, "largest increase of the share of rows with the same timestamp as the row before", 1.0
    )
    bad_rows: float = _limit(0.005, "largest increase of the share of bad rows", 1.0)


@dataclasses.dataclass(frozen=True)
class ModelLimits:
    """How far the answers of a candidate may be from those of the current run."""

    worse: float = _limit(
        0.02,
        "relative loss of NDCG@k that is tolerated in a domain, even where it is significant",
        1.0,
    )
    undetected: float = _limit(
        0.2,
        "relative loss of NDCG@k that the interval has to exclude, else there are too few targets "
        "to tell",
        1.0,
    )
    least_targets: float = _limit(
        100, "fewest targets for a verdict on a domain; below, too few to tell"
    )
    unknown: float = _limit(0.5, "largest share of a domain's later rows with unknown items", 1.0)
    more_unknown: float = _limit(0.05, "by how much that share may exceed the current run's", 1.0)
    narrower: float = _limit(
        0.2,
        "largest relative decrease of a domain's coverage: of the number of different recommended "
        "items, and of their share of the known ones",
        1.0,
    )
    slower: float = _limit(
        1.5, "largest ratio of the latency of a request to the current one", least=1
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds an option for every limit."""
    for title, limits in (("limits of data", DataLimits), ("limits of answers", ModelLimits)):
        group = parser.add_argument_group(title)
        for field in dataclasses.fields(limits):
            group.add_argument(
                f"--{field.name}",
                type=float,
                default=field.default,
                metavar="X",
                help=f"{field.metadata['about'].replace('%', '%%')} ({field.default:g})",
            )


def limits_from(args: argparse.Namespace) -> tuple[DataLimits, ModelLimits]:
    """The limits that options give.

    Raises:
        InputError: one makes no sense.
    """
    data, model = (_given(limits, args) for limits in (DataLimits, ModelLimits))
    return data, model


def _given(limits: Any, args: argparse.Namespace) -> Any:
    found = {field.name: getattr(args, field.name) for field in dataclasses.fields(limits)}
    for field in dataclasses.fields(limits):
        value, least, most = (found[field.name], *(field.metadata[n] for n in ("least", "most")))
        if not least <= value <= most:  # a NaN is neither
            wanted = f"{least:g} or more" if most == float("inf") else f"{least:g} to {most:g}"
            raise InputError(f"--{field.name} {value:g}: expected {wanted}")
    return limits(**found)
