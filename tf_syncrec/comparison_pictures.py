"""Pictures of a comparison, from `comparison.json` alone.

A domain may be called "$": draw them under `text.parse_math: False`.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tf_syncrec.metrics import SELECTION_METRIC
from tf_syncrec.pictures import VERDICT_COLOURS, short


def model_bars(comparison: Mapping[str, Any]) -> Figure:
    """NDCG@10 of every model, overall and in each domain, with the spread over seeds."""
    models = comparison["models"]
    places = ["overall", *comparison["domains"]]
    thick = 0.8 / len(models)
    figure = Figure(figsize=(9, 1.2 + len(places) * (0.3 + 0.14 * len(models))), layout="tight")
    axes = figure.add_subplot()
    for i, (name, model) in enumerate(models.items()):
        test = model["test"]
        values = [test["overall"], *(test["domains"][d] for d in comparison["domains"])]
        axes.barh(
            [y - 0.4 + thick * (i + 0.5) for y in range(len(places))],
            [value[SELECTION_METRIC]["mean"] for value in values],
            thick,
            xerr=[_spread(value[SELECTION_METRIC]["std"]) for value in values],
            error_kw={"elinewidth": 0.8},
            label=name,
            color=f"C{i % 10}",
            hatch="//" if i >= 10 else None,
        )
    axes.set_yticks(range(len(places)), [short(place) for place in places])
    axes.invert_yaxis()
    axes.set_xlabel("test NDCG@10")
    axes.grid(axis="x", lw=0.4)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def transfer_bars(model: str, table: Mapping[str, Any], width: float | None = None) -> Figure:
    """What training on all domains changes in each, with 95 % intervals: left of zero hurts.

    Args:
        model: for the title.
        table: of `verdicts.negative_transfer`.
        width: inches, without a title, for a page that has its own; None for a picture by itself.
    """
    rows = sorted(table["domains"].items(), key=lambda item: item[1]["difference"]["mean"])
    figure = Figure(figsize=(width or 7, 1.4 + 0.34 * len(rows)), layout="tight")
    axes = figure.add_subplot()
    for y, (_, row) in enumerate(rows):
        difference = row["difference"]
        colour = VERDICT_COLOURS[row["verdict"]]
        axes.plot([difference["low"], difference["high"]], [y, y], color=colour, lw=2)
        axes.plot([difference["mean"]], [y], "o", color=colour)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(rows)), [short(name) for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("NDCG@10: all domains minus the domain alone")
    if width is None:
        title = f"{model}: red is hurt by the other domains, blue is helped"
        axes.set_title(title, size=10)
    axes.grid(axis="x", lw=0.4)
    return figure


def _spread(std: float | None) -> float:
    """Length of an error bar; one seed has no spread, and so no bar."""
    return float("nan") if std is None else std
