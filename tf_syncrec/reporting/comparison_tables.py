"""A comparison as people read it: Markdown tables, from `comparison.json` alone, and the files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tabulate import tabulate

from data_prep.files import write_whole
from tf_syncrec.evaluation.significance import SIGNIFICANCE
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC
from tf_syncrec.models.registry import FULL
from tf_syncrec.reporting.comparison_charts import model_dots, transfer_bars
from tf_syncrec.reporting.comparison_page import comparison_page
from tf_syncrec.utils.tables import mean_and_spread

HEADINGS = {metric: metric.upper() for metric in METRICS}
GROUPS = {
    "last_item": "last item of the history",
    "same_day": "an in-domain item on the target's day",
    "near_duplicate": "a near-duplicate in the history",
    "in_domain_history": "in-domain history",
    "cold": "target never seen in training",
}


def write_comparison(
    root: Path, comparison: Mapping[str, Any], ranks: pa.Table, trainings: Mapping[str, Any]
) -> list[Path]:
    """Writes the files of a comparison; returns their paths.

    Args:
        root: directory of the comparison.
        comparison: what `comparison.json` holds.
        ranks: what `ranks.parquet` holds.
        trainings: of `comparison_page.histories`.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        pictures = {"comparison.png": model_dots(comparison)}
        for model, table in comparison["negative_transfer"].items():
            name = f"negative_transfer-{model.replace(':', '-')}.png"
            pictures[name] = transfer_bars(model, table)
    names = ("comparison.json", "comparison.md", "report.html", *pictures)
    files = [root / name for name in names]
    write_whole(files[0], json.dumps(comparison, indent=1, allow_nan=False) + "\n")
    write_whole(files[1], "# Comparison\n\n" + markdown(comparison, list(pictures)))
    write_whole(files[2], comparison_page(comparison, markdown(comparison, []), trainings))
    for name, figure in pictures.items():
        figure.savefig(root / name, dpi=150)
    pq.write_table(ranks, root / "ranks.parquet", compression="zstd")
    return [*files, root / "ranks.parquet"]


def markdown(comparison: Mapping[str, Any], pictures: list[str]) -> str:
    """All of a comparison but the heading of the page, as Markdown."""
    reference = comparison["reference"]
    sections = [
        "## How it was measured",
        _protocol(comparison),
        "## Overall",
        "Mean ± standard deviation over seeds, of one seed without; best in bold.",
        _metric_table(comparison),
        f"## NDCG@10 against {reference}",
        "Difference in test NDCG@10 with its 95 % interval over users (paired bootstrap of the "
        "means over seeds). p of the domains is corrected by Holm; * marks "
        f"p < {SIGNIFICANCE}.",
        _difference_table(comparison),
        "## NDCG@10 per domain",
        _domain_table(comparison, SELECTION_METRIC),
        "## HR@10 per domain",
        _domain_table(comparison, "hr@10"),
    ]
    if comparison["negative_transfer"]:
        sections += ["## Negative transfer: which domains are hurt?", _transfer_text()]
    for model, table in comparison["negative_transfer"].items():
        sections += [f"### {model}", _transfer_table(table)]
    if comparison["ablation"]:
        sections += ["## Ablation (Table 5 of the paper)", _ablation_table(comparison)]
    if comparison["tuning"]:
        sections += ["## Tuning: what was tried", _tuning_text(comparison)]
    for model, tuning in comparison["tuning"].items():
        sections += [f"### Trials of {model}", _tuning_table(tuning)]
    sections += [
        "## What the numbers are made of",
        "NDCG@10 of kinds of targets, and in brackets the part of all hits at 10.",
        _breakdown_table(comparison),
        "## Cost",
        _cost_table(comparison),
        "## Each metric per domain",
    ]
    for domain in comparison["domains"]:
        sections += [
            f"### {domain}",
            _metric_table(comparison, domain),
        ]
    sections += [f"![{name}]({name})" for name in pictures]
    return "\n\n".join(sections) + "\n"


def _protocol(comparison: Mapping[str, Any]) -> str:
    lines = [f"- {key}: {value}" for key, value in comparison["protocol"].items()]
    lines.append(f"- targets never seen in training: {comparison['cold_target_share']:.2%}")
    lines += [f"- `{name}`: {model['about']}" for name, model in comparison["models"].items()]
    return "\n".join(lines)


def _table(rows: list[list[str]], headers: list[str]) -> str:
    alignment = ["left"] + ["right"] * (len(headers) - 1)
    rows, headers = [[_cell(text) for text in row] for row in rows], [*map(_cell, headers)]
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def _cell(text: str) -> str:
    """Text that does not end its cell: a domain may be called "|"."""
    return " ".join(text.split()).replace("|", r"\|")


def _bold_best(rows: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, str]:
    """A metric of every model as text, the best in bold."""
    best = max((row[key]["mean"] for row in rows.values()), default=0.0)
    return {
        name: f"**{mean_and_spread(row[key])}**"
        if row[key]["mean"] == best > 0
        else mean_and_spread(row[key])
        for name, row in rows.items()
    }


def _metric_table(comparison: Mapping[str, Any], domain: str | None = None) -> str:
    tests = {name: model["test"] for name, model in comparison["models"].items()}
    rows = {
        name: test["overall"] if domain is None else test["domains"][domain]
        for name, test in tests.items()
    }
    columns = [_bold_best(rows, metric) for metric in METRICS]
    seeds = {name: len(model["seeds"]) or "-" for name, model in comparison["models"].items()}
    users = next(iter(rows.values()))["users"]
    table = [[name, str(seeds[name]), *(column[name] for column in columns)] for name in rows]
    return _table(table, [f"{users:,} users", "seeds", *(HEADINGS[m] for m in METRICS)])


def _domain_table(comparison: Mapping[str, Any], metric: str) -> str:
    columns = [
        _bold_best(
            {n: m["test"]["domains"][domain] for n, m in comparison["models"].items()}, metric
        )
        for domain in comparison["domains"]
    ]
    rows = [[name, *(column[name] for column in columns)] for name in comparison["models"]]
    return _table(rows, ["", *comparison["domains"]])


def _difference(row: Mapping[str, Any]) -> str:
    p = row.get("p_holm", row["p_value"])
    star = "*" if p < SIGNIFICANCE else ""
    return f"{row['mean']:+.4f}{star} [{row['low']:+.4f}, {row['high']:+.4f}] p {p:.3g}"


def _difference_table(comparison: Mapping[str, Any]) -> str:
    rows = []
    for name, model in comparison["models"].items():
        if found := model["against_reference"].get(SELECTION_METRIC):
            cells = [found["overall"], *(found["domains"][d] for d in comparison["domains"])]
            rows.append([name, *map(_difference, cells)])
    return _table(rows, ["", "overall", *comparison["domains"]])


def _transfer_text() -> str:
    return (
        "NDCG@10 of the same network trained on a domain alone and on all domains together; "
        f"`hurt` and `helped` where the difference is significant (p < {SIGNIFICANCE} after Holm's "
        "correction over the domains) and every seed of one is above every seed of the other; one "
        "seed cannot tell what another training would say. `not trained alone`: nothing to learn "
        "from, popularity stands in."
    )


def _transfer_table(table: Mapping[str, Any]) -> str:
    rows = []
    for name, row in [*table["domains"].items(), ("overall", table["overall"])]:
        change = "-" if row["change"] is None else f"{row['change']:+.1%}"
        rows.append(
            [
                name,
                f"{row['users']:,}",
                f"{row['alone']:.4f}",
                f"{row['all_domains']:.4f}",
                change,
                _difference(row["difference"]),
                row["verdict"],
            ]
        )
    return _table(
        rows, ["", "users", "alone", "all domains", "change", "difference", "other domains"]
    )


def _tuning_text(comparison: Mapping[str, Any]) -> str:
    seconds = sum(tuning["seconds"] for tuning in comparison["tuning"].values())
    return (
        "Validation NDCG@10 of every trial, each with the first seed of its model; the chosen one "
        "in bold, of a single-domain model for each domain (-: nothing to learn from, popularity "
        "stands in). Test ranks of the others are not looked at. All trials took "
        f"{seconds:,.0f} s; the table of costs counts the chosen ones alone."
    )


def _tuning_table(tuning: Mapping[str, Any]) -> str:
    """A row a point of the grid, a column a setting and one a domain."""
    points: dict[str, Any] = {}
    for trial in tuning["trials"]:
        row = points.setdefault(json.dumps(trial["settings"]), (trial["settings"], {}))[1]
        text = "-" if trial["stand_in"] else f"{trial['validation']:.4f}"
        chosen = trial["chosen"] and not trial["stand_in"]
        column = "validation NDCG@10" if trial["domain"] is None else trial["domain"]
        row[column] = f"**{text}**" if chosen else text
    rows = [[*map(str, settings.values()), *cells.values()] for settings, cells in points.values()]
    settings, cells = next(iter(points.values()))
    return _table(rows, [*settings, *cells])


def _ablation_table(comparison: Mapping[str, Any]) -> str:
    full = {"full": FULL} if FULL in comparison["models"] else {}
    rows = []
    for label, name in (full | comparison["ablation"]).items():
        model = comparison["models"][name]
        cells = [model["test"]["overall"], *model["test"]["domains"].values()]
        rows.append([label, *(mean_and_spread(cell[SELECTION_METRIC]) for cell in cells)])
    return _table(rows, ["", "overall", *comparison["domains"]])


def _breakdown_table(comparison: Mapping[str, Any]) -> str:
    models = comparison["models"]
    rows = []
    for name, groups in next(iter(models.values()))["breakdown"].items():
        for group, first in groups.items():
            cells = [model["breakdown"][name][group] for model in models.values()]
            texts = [f"{cell['ndcg@10']:.4f} ({cell['share_of_hits']:.0%})" for cell in cells]
            rows.append([f"{GROUPS.get(name, name)}: {group}", f"{first['users']:,}", *texts])
    return _table(rows, ["targets", "users", *models])


def _cost_table(comparison: Mapping[str, Any]) -> str:
    def number(value, digits=0):
        return "-" if value is None else f"{value:,.{digits}f}"

    rows = []
    for name, model in comparison["models"].items():
        cost = model["cost"]
        epochs = f"{np.median(cost['epochs']):.0f}" if cost["epochs"] else "-"
        rows.append(
            [
                name,
                number(cost["seconds_per_epoch"], 1),
                epochs,
                number(cost["seconds"]),
                number(cost["peak_memory_mb"]),
                number(cost["parameters"]),
            ]
        )
    headers = ["", "s / epoch", "epochs (median)", "s in all", "peak MiB", "parameters"]
    return _table(rows, headers)
