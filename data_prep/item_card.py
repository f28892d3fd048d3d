"""What a data card says of the file of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from data_prep.read.items.item_table import Items


def item_card(items: Items, totals: Mapping[str, Any]) -> dict[str, Any]:
    """Counts what the file has and lacks.

    Args:
      items: what it says.
      totals: counts by name, of `pipeline.cold_items` too.

    Returns:
      Plain JSON values: `rows` (items of the file), `columns` (each with `kind` and the part that
      is `missing`), `domains` (each with its items in the log, those that are `missing` from the
      file, and the `cold` ones), `cold_test_targets`, and `faults`, counts by name.
    """
    missing, every = totals["unlisted_items"], totals["items_of_domain"]
    return {
        "rows": totals["listed_items"],
        "columns": {
            column.name: {
                "kind": column.kind,
                "missing": items.table[column.name].null_count / max(len(items.table), 1)
                if column.kind != "ignore"
                else None,
            }
            for column in items.columns
        },
        "domains": {
            name: {
                "items": every[name],
                "missing": missing[name],
                "cold": totals["cold_items"][name],
            }
            for name in every
        },
        "cold_test_targets": totals["cold_test_targets"],
        "faults": dict(items.faults)
        | {name: totals[name] for name in ("listed_items_left_out", "listed_in_another_domain")},
    }


_FAULTS = {
    "repeated_rows": "rows that repeat an earlier one",
    "conflicting_rows": "rows that contradict an earlier row of their item; the first is used",
    "listed_items_left_out": "items without training events, and without a domain of the log",
    "listed_in_another_domain": "items with another domain in the log, which is used",
}


def item_sections(card: Mapping[str, Any]) -> list[str]:
    """The section to read, of a card that has one."""
    found = card.get("item_file")
    if found is None:
        return []
    columns = [
        (_cell(name), facts["kind"], "" if facts["missing"] is None else f"{facts['missing']:.1%}")
        for name, facts in found["columns"].items()
    ]
    domains = [
        (_cell(name), facts["items"], facts["missing"], facts["cold"])
        for name, facts in found["domains"].items()
    ]
    counts = [("items of the file", found["rows"])]
    counts.append(("test targets that are in the file alone", found["cold_test_targets"]))
    for name, number in found["faults"].items():
        column = name.removeprefix("unread:")
        counts.append((_FAULTS.get(name, f"values of {_cell(column)} that are no number"), number))

    def table(rows: list, headers: list[str]) -> str:
        return tabulate(rows, headers, tablefmt="github", intfmt=",")

    return [
        "## The items file",
        table(counts, ["", "number"]),
        table(columns, ["column", "kind", "missing"]),
        table(domains, ["domain", "items of the log", "not in the file", "in the file alone"]),
    ]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
