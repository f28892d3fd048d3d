"""What is in a prepared dataset, and what was dropped on the way there: as JSON and to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate

from data_prep.item_card import item_card, item_sections
from data_prep.pipeline.times import time_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from data_prep.pipeline.sequences import Sequences
    from data_prep.read.items.item_table import Items
    from data_prep.read.quarantine import Quarantine

FILE_NAMES = ("data_card.json", "data_card.md", "data_card.png")


def data_card(
    name: str,
    settings: Mapping[str, Any],
    protocol: str,
    bad: Quarantine,
    sequences: Sequences,
    notes: Mapping[str, int] | None = None,
    items: Items | None = None,
) -> dict[str, Any]:
    """Counts everything.

    Args:
      name: of the dataset.
      settings: what made it.
      protocol: which events train and which are targets, in words.
      bad: the rows that were set aside.
      sequences: the result of the pipeline.
      notes: numbers of rows whose values were changed, see `Reading`; None where nothing was read.
      items: what a file says of items, if one was given.

    Returns:
      The card, as plain JSON values.
    """
    totals = sequences.statistics
    return {
        "dataset": name,
        "settings": dict(settings),
        "split": protocol,
        "rows": {
            "read": bad.rows or totals["rows"],
            "bad": dict(bad.reasons),
            "repeated": totals["rows"] - totals["distinct_events"],
            "dropped_by_core": totals["distinct_events"] - totals["events"],
            "kept": totals["events"],
        },
        "users": {
            "read": totals["users_before_core"],
            "kept": totals["users"],
            "validation_targets": totals["validation_users"],
            "test_targets": totals["evaluated_users"],
        },
        "items": {
            "read": totals["items_before_core"],
            "kept": totals["items"],
            "in_training": totals["known_items"],
            "in_several_domains": totals["items_in_several_domains"],
            "rows_in_another_domain": totals["rows_in_another_domain"],
        },
        # Also those that a file of items knows, which has a count of its own.
        "unknown_test_targets": totals["unknown_test_targets"] + totals.get("cold_test_targets", 0),
        "domains": _domains(sequences),
        "shared_users": sequences.counts.shared_users.tolist(),
        "lengths": _lengths(sequences.counts.lengths),
        "times": time_profile(sequences),
    } | _given(notes, items, totals)


def _given(
    notes: Mapping[str, int] | None, items: Items | None, totals: Mapping[str, Any]
) -> dict[str, Any]:
    """Sections that not every card has."""
    found: dict[str, Any] = {} if notes is None else {"reading": dict(notes)}
    return found if items is None else found | {"item_file": item_card(items, totals)}


def _domains(sequences: Sequences) -> dict[str, dict[str, Any]]:
    rules, counts = sequences.catalogue.rules, sequences.counts.by_domain()
    return {name: values | {"repeats": rules[name]} for name, values in counts.items()}


def write(card: Mapping[str, Any], folder: Path) -> None:
    """Writes the card in three files, see `FILE_NAMES`."""
    texts = (json.dumps(card, indent=1, ensure_ascii=False) + "\n", markdown(card))
    for name, text in zip(FILE_NAMES[:2], texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    _picture(card["lengths"]["histogram"]).savefig(
        folder / FILE_NAMES[2], metadata={"Software": None}
    )


def markdown(card: Mapping[str, Any]) -> str:
    """The card to read."""
    rows, users, items = card["rows"], card["users"], card["items"]
    lengths = card["lengths"]
    steps = [("rows read", rows["read"])]
    steps += [(f"− bad: {_cell(reason)}", count) for reason, count in rows["bad"].items()]
    steps += [
        ("− repeated (user, item and time)", rows["repeated"]),
        ("− dropped by the k-core", rows["dropped_by_core"]),
        ("**interactions kept**", rows["kept"]),
    ]
    people = [
        ("users read", users["read"]),
        ("users kept", users["kept"]),
        ("validation targets", users["validation_targets"]),
        ("test targets", users["test_targets"]),
        ("test targets never seen in training", card["unknown_test_targets"]),
        ("items read", items["read"]),
        ("items kept", items["kept"]),
        ("items in training", items["in_training"]),
        ("items listed in several domains", items["in_several_domains"]),
        (
            "their rows in a domain that was not kept",
            items["rows_in_another_domain"],
        ),
    ]
    names = [_cell(name) for name in card["domains"]]
    fields = ("users", "items", "interactions", "test_targets")
    domains = [
        [name, *(values[field] for field in fields), *_again(values)]
        for name, values in zip(names, card["domains"].values(), strict=True)
    ]
    shared = [[name, *row] for name, row in zip(names, card["shared_users"], strict=True)]
    settings = [
        (_cell(k), f"`{_cell(json.dumps(v, ensure_ascii=False))}`")
        for k, v in card["settings"].items()
        if k != "files"  # Digests, which tell a reader nothing.
    ]
    return (
        "\n\n".join(
            [
                f"# {card['dataset']}",
                f"Split: {card['split']}.",
                _table(settings, ["setting", "value"]),
                "## Rows",
                _table(steps, ["", "rows"]),
                *_reading(card),
                *item_sections(card),
                "## Users and items",
                _table(people, ["", "number"]),
                "## Domains",
                _table(
                    domains,
                    [
                        *("domain", "users", "items", "interactions", "test targets"),
                        *("training events that repeat an item", "seen items are candidates"),
                    ],
                ),
                "## Users who are in both domains",
                _table(shared, ["", *names]),
                "## Interactions of a user",
                f"{lengths['min']:,} to {lengths['max']:,}, median {lengths['median']:g}, mean "
                f"{lengths['mean']:.1f}.",
                f"![How many users have how many interactions]({FILE_NAMES[2]})",
                _table(
                    [(_range(b), b["users"]) for b in lengths["histogram"]],
                    ["interactions", "users"],
                ),
            ]
        )
        + "\n"
    )


def _again(domain: Mapping[str, Any]) -> list[str]:
    """Cards of earlier versions have none of it."""
    if "repeats" not in domain:
        return ["", ""]
    yes = domain["repeats"] == "include"
    return [f"{domain['repeated_share']:.1%}", "yes" if yes else "no"]


def in_several_domains(totals: Mapping[str, Any]) -> str:
    """Says how many rows count for another domain than the one they name; empty for none.

    Args:
      totals: counts of a log by name, as in `Sequences.statistics`.
    """
    items = totals.get("items_in_several_domains", 0)
    if not items:
        return ""
    return (
        f"{items:,} items are in several domains; each counts for the one that most of its rows "
        f"name, so {totals['rows_in_another_domain']:,} of {totals['rows']:,} rows change their "
        "domain."
    )


# What was done to values, in the order of the card.
_READING = {
    "trimmed": "rows with blanks around an id, a domain or a time: they are no part of it",
    "from_float": "rows with an id that is a float or a decimal: 120000000.0 is the id 120000000",
    "dated": "rows whose time is a date: it is seconds since 1970, in UTC where no zone is named",
}


def _reading(card: Mapping[str, Any]) -> list[str]:
    notes = card.get("reading")  # Cards of generated data, and those of before, have none.
    if notes is None:
        return []
    lines = [(_READING[name], notes[name]) for name in _READING]
    return ["## How values were read", _table(lines, ["", "rows"])]


def _lengths(counts: Mapping[int, int]) -> dict[str, Any]:
    length, users = np.array(sorted(counts.items())).T
    below, total = users.cumsum(), int(users.sum())
    middle = [
        length[np.searchsorted(below, k, side="right")] for k in ((total - 1) // 2, total // 2)
    ]
    # 1, 2, 3-4, 5-8, ...: histories are short with a long tail.
    bins = np.ceil(np.log2(length)).astype(int)
    histogram = [
        {"from": 1 + (1 << b) // 2 * (b > 0), "to": 1 << b, "users": int(users[bins == b].sum())}
        for b in map(int, range(bins[0], bins[-1] + 1))
    ]
    return {
        "min": int(length[0]),
        "median": float(np.mean(middle)),
        "mean": float((length * users).sum() / total),
        "max": int(length[-1]),
        "histogram": histogram,
    }


def _picture(histogram: list[dict[str, int]]) -> Figure:
    from matplotlib.figure import Figure  # Half a second, which reading a card need not wait for.

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(
        [_range(b) for b in histogram], [b["users"] for b in histogram], color="#4878a8"
    )
    axes.tick_params("x", labelsize=8, rotation=30)
    axes.bar_label(bars, fmt="{:,.0f}", fontsize=8)
    axes.set(xlabel="interactions of a user", ylabel="users")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _range(part: Mapping[str, int]) -> str:
    return str(part["to"]) if part["from"] == part["to"] else f"{part['from']}-{part['to']}"


def _cell(text: str) -> str:
    """Text that can stand in a table of Markdown."""
    return " ".join(text.replace("|", "\\|").split())


def _table(rows: list, headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", intfmt=",")
