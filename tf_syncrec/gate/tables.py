"""What the gate found, as tables for the terminal."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from tf_syncrec.evaluation import by_domain
from tf_syncrec.gate.checks import Check
from tf_syncrec.gate.verdicts import SIDES


def answers_table(table: Mapping[str, Any], k: int) -> str:
    """One row a domain and one overall.

    Args:
        table: of `verdicts.quality`.
        k: how many answers there were.
    """
    headers = ["domain", "targets", f"NDCG@{k}", "", "difference (95 %)", "verdict"]
    headers += [f"HR@{k}", "", "unknown items", "", "coverage", ""]
    rows = []
    for name, row in by_domain(table).items():
        cells = [name, f"{row['targets']:,}", *(f"{row['ndcg'][side]:.4f}" for side in SIDES)]
        cells += [_relative(row), row["verdict"], *(f"{row['hr'][side]:.4f}" for side in SIDES)]
        for what in ("unknown", "coverage"):
            cells += [f"{row[what][side]:.1%}" if what in row else "" for side in SIDES]
        rows.append(cells)
    return _drawn(headers, rows)


def _relative(row: Mapping[str, Any]) -> str:
    difference = row["difference"]
    if row["relative"] is None:
        return f"{difference['mean']:+.4f}"
    mean, low, high = row["relative"]
    return f"{mean:+.1%} ({low:+.1%} to {high:+.1%})"


def data_table(checks: Sequence[Check], everything: bool) -> str:
    """One row a check: those of the whole log, and what moved.

    Args:
        checks: of `data_cards.compare_data`.
        everything: also what did not move in a domain.
    """
    shown = [check for check in checks if check.moved or not check.domain or everything]
    rows = [
        [check.what, check.domain, *values_of(check), check.limit, "MOVED" if check.moved else ""]
        for check in shown
    ]
    return _drawn(["data", "domain", "current", "candidate", "limit", ""], rows)


def values_of(check: Check) -> tuple[str, str]:
    """Both values of a check, as text."""
    old, new = (_value(check.kind, value) for value in (check.current, check.candidate))
    return old, new


def _value(kind: str, value: float | str | None) -> str:
    if isinstance(value, str) or value is None:
        return value or "-"
    if kind == "share":
        return f"{100 * value:.3g} %"
    if kind == "time":
        try:
            return datetime.datetime.fromtimestamp(value, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        except (OverflowError, ValueError, OSError):  # of no year of ours
            return f"{value:.15g}"
    if kind == "seconds":
        return f"{value:,.3g} s" if value < 3600 else f"{value / 3600:,.3g} h"
    return f"{value:,.10g}"


def _drawn(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, disable_numparse=True)
