"""What was measured beside what others published: tables and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from tabulate import tabulate

from benchmarks.planted_transfer import over_seeds
from tf_syncrec.reporting.pictures.charts import panels_in

NUMBERS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "numbers.yaml").read_text())
"""By table: where it is from, its metrics, and `{model: {domain: [a value a metric]}}`."""

CHOSEN = "ndcg@10"
"""The metric by which the best published model of a domain is the best."""

OURS, THEIRS = "#c0392b", "#5d6d7e"


def published(table: str, domain: str) -> dict[str, dict[str, float]]:
    """`{model: {metric: value}}` of those who published something on a domain, best first."""
    metrics = NUMBERS[table]["metrics"]
    found = {
        model: dict(zip(metrics, of[domain], strict=True))
        for model, of in NUMBERS[table]["models"].items()
        if domain in of
    }
    return dict(sorted(found.items(), key=lambda item: -item[1][CHOSEN]))


def domain_table(table: str, domain: str, measured: Mapping[str, Any]) -> str:
    """All models on one domain, best first.

    Args:
        table: key of `NUMBERS`.
        domain: one of its domains.
        measured: of `measure.measure`.
    """
    metrics = NUMBERS[table]["metrics"]
    best = next(iter(published(table, domain).values()))[CHOSEN]
    rows = [
        (of[CHOSEN], [model, "", *(f"{of[m]:.4f}" for m in metrics), f"{of[CHOSEN] / best:.2f}"])
        for model, of in published(table, domain).items()
    ]
    for model, result in measured.items():
        of = result["domains"][domain]
        mean = float(np.mean(of[CHOSEN]))
        seeds = len(result["seeds"]) or ""
        cells = [over_seeds(np.array(of[metric])) for metric in metrics]
        rows.append((mean, [f"**{model}**", str(seeds), *cells, f"{mean / best:.2f}"]))
    rows.sort(key=lambda row: -row[0])
    headers = [domain, "seeds", *map(str.upper, metrics), "of the best published"]
    return _table([row for _, row in rows], headers)


def summary(sets: Sequence[Mapping[str, Any]], model: str) -> str:
    """NDCG@10 of one model beside the best published, a row a domain.

    Args:
        sets: `{"name", "table", "models": of measure.measure}` of each.
        model: which.
    """
    rows = []
    for each in sets:
        for domain, of in each["models"][model]["domains"].items():
            best, value = next(iter(published(each["table"], domain).items()))
            ratio = np.mean(of[CHOSEN]) / value[CHOSEN]
            theirs = f"{value[CHOSEN]:.4f} ({best})"
            rows.append(
                [each["name"], domain, over_seeds(np.array(of[CHOSEN])), theirs, f"{ratio:.2f}"]
            )
    return _table(rows, ["set", "domain", f"{model} {CHOSEN.upper()}", "best published", "ratio"])


def cost_table(measured: Mapping[str, Any]) -> str:
    """What each model cost, means over seeds: all seconds from the log to the report."""
    names = ("seconds", "seconds_per_epoch", "epochs", "peak_memory_mb")
    rows = []
    for model, result in measured.items():
        means = [[c[name] for c in result["cost"] if c.get(name) is not None] for name in names]
        rows.append([model, *(f"{np.mean(values):,.0f}" if values else "" for values in means)])
    return _table(rows, ["", "seconds", "s an epoch", "epochs", "peak memory, MiB"])


def drawn_table(drawn: Mapping[str, Mapping[str, float]], negatives: int) -> str:
    """What was drawn beside what is expected, both from trained items alone."""
    rows = [[d, f"{of['drawn']:.4f}", f"{of['expected']:.4f}"] for d, of in drawn.items()]
    return _table(rows, ["NDCG@10", f"one draw of {negatives}", "mean over all draws"])


def picture(sets: Sequence[Mapping[str, Any]]) -> Figure:
    """NDCG@10 of everybody, a panel a domain; ours are red, with the spread over seeds."""
    panels = [(each, domain) for each in sets for domain in _domains(each)]
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    longest = max(len(published(each["table"], d)) + len(each["models"]) for each, d in panels)
    figure = Figure(figsize=(3.6 * columns, lines * (0.9 + 0.22 * longest)), layout="constrained")
    places = panels_in(figure, lines, columns, len(panels))
    for axes, (each, domain) in zip(places, panels, strict=True):
        points = [
            (model, of[CHOSEN], 0.0, THEIRS)
            for model, of in published(each["table"], domain).items()
        ]
        for model, result in each["models"].items():
            values = result["domains"][domain][CHOSEN]
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            points.append((model, float(np.mean(values)), deviation, OURS))
        points.sort(key=lambda point: point[1])
        for y, (_, value, deviation, colour) in enumerate(points):
            axes.errorbar(value, y, xerr=deviation or None, fmt="o", ms=5, color=colour)
        axes.set_yticks(range(len(points)), [name for name, *_ in points], size=8)
        for label, (*_, colour) in zip(axes.get_yticklabels(), points, strict=True):
            label.set_color(colour)
        axes.set_title(f"{domain}\n{each['name']}", size=9)
        axes.set_xlim(left=0)
    figure.supxlabel("test NDCG@10 under the published protocol; red: measured here", size=9)
    return figure


def _domains(each: Mapping[str, Any]) -> list[str]:
    return list(next(iter(each["models"].values()))["domains"])


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
