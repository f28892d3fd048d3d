"""Pictures of a comparison, from `comparison.json` alone.

A domain may be called "$": draw them under `text.parse_math: False`.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.charts import VERDICT_COLOURS, short

OF_REFERENCE, OF_OTHERS = "C3", "C0"


def model_dots(comparison: Mapping[str, Any]) -> Figure:
    """NDCG@10 of every model, best overall first, in a panel for all users and one a domain.

    A line is the reference; bars are the spread over seeds.
    """
    # Overall first; by position, since a domain may be called "overall" too.
    places = ["overall", *comparison["domains"]]
    found = {
        name: [
            model["test"]["overall"][SELECTION_METRIC],
            *(model["test"]["domains"][d][SELECTION_METRIC] for d in comparison["domains"]),
        ]
        for name, model in comparison["models"].items()
    }
    names = sorted(found, key=lambda name: -found[name][0]["mean"])
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    figure = Figure(
        figsize=(2.5 + 2.4 * columns, rows * (0.8 + 0.21 * len(names))), layout="constrained"
    )
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for number, (axes, place) in enumerate(zip(panels, places, strict=False)):
        for y, name in enumerate(names):
            value = found[name][number]
            colour = OF_REFERENCE if name == comparison["reference"] else OF_OTHERS
            spread = _spread(value["std"])
            axes.errorbar(value["mean"], y, xerr=spread, fmt="o", ms=4, color=colour)
        axes.axvline(found[comparison["reference"]][number]["mean"], color=OF_REFERENCE, lw=0.8)
        axes.set_title(short(place), size=9)
        axes.set_xlim(left=0)
        axes.tick_params(labelsize=8)
        axes.grid(lw=0.4)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels[len(places) :]:
        axes.remove()
    figure.supxlabel("test NDCG@10", size=9)
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
