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

    fewer: float = _limit(0.2, "part by which rows, users and items may be fewer", 1.0)
    more: float = _limit(1.0, "part by which rows, users and items may be more")
    kept_ids: float = _limit(
        0.5, "part of the current users and items that has to be there under the same ids", 1.0
    )
    shared_users: float = _limit(
        0.5, "part of the current share of a domain's users who are in another domain, at least", 1
    )
    daily_rows: float = _limit(
        0.5,
        "new rows a day, as part of those of the current log's last 28 days: at least this, and at "
        "most 1 divided by it",
        1.0,
    )
    days_late: float = _limit(
        2.0, "days by which a domain may end earlier before the end of the log than it did"
    )
    future_rows: float = _limit(0.001, "part of the rows that may be of days to come", 1.0)
    gap_factor: float = _limit(
        2.0,
        "how many times longer or shorter the median time between two rows of a user may be",
        least=1.0,
    )
    tied_rows: float = _limit(
        0.01, "by how much the part of rows may rise that are of the time of the one before", 1.0
    )
    bad_rows: float = _limit(0.005, "by how much the part of bad rows may rise", 1.0)


@dataclasses.dataclass(frozen=True)
class ModelLimits:
    """How far the answers of a candidate may be from those of the current run."""

    worse: float = _limit(
        0.02, "part of NDCG@k that a domain may lose, even where the loss is certain", 1.0
    )
    undetected: float = _limit(
        0.2,
        "a loss as large as this part has to be excluded by the interval, else there are too few "
        "targets to tell",
        1.0,
    )
    least_targets: float = _limit(100, "targets below which a domain is called too small to tell")
    unknown: float = _limit(0.5, "part of a domain's later rows whose items may be unknown", 1.0)
    more_unknown: float = _limit(
        0.05, "by how much that part may be larger than the current run's", 1.0
    )
    narrower: float = _limit(
        0.2,
        "part by which different items of a domain that are recommended may be fewer, in number "
        "and as a share of those known",
        1.0,
    )
    slower: float = _limit(1.5, "how many times the current seconds of a request may take", least=1)


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
