"""Pictures of a run and of a comparison: bars, lines, dots.

A domain may be called "$": draw them under `text.parse_math: False`, which `svg.RC` has.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tf_syncrec.evaluation import OVERALL, shown
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.pictures.svg import (
    ACCENT,
    COLOURS,
    CSS,
    INK,
    MUTED,
    RULE,
    SERIES,
    VERDICT_COLOURS,
    colour_of,
    svg_of,
)

WIDTH = 5.0  # inches; narrow, so that the text stays readable when a phone scales the picture
OF_REFERENCE, OF_OTHERS = "C3", "C0"

Points = list[tuple[int, float]]


class Key(NamedTuple):
    """One entry of a legend, which the page draws in HTML so that it wraps on a phone."""

    label: str
    colour: str
    dash: str = ""


class Chart(NamedTuple):
    """A picture, its heading, one sentence on how to read it, and its legend."""

    title: str
    note: str
    svg: Markup
    legend: Sequence[Key]


def bars(
    title: str,
    note: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    spreads: Sequence[float | None] | None = None,
    label: str = "NDCG@10 (test)",
    of_domains: bool = False,
) -> Chart:
    """Bars side by side; the height follows the number of names.

    Args:
        title: heading.
        note: how to read it.
        names: of the rows.
        series: `{name: a value a row}`; the second one is grey.
        spreads: of the first series, a value a row.
        label: of the axis.
        of_domains: whether each row is a domain's, and its first bar has the domain's colour.
    """
    figure, axes = _figure(height=0.9 + 0.32 * len(names))
    thick = 0.76 / len(series)
    colours = [ACCENT, MUTED, COLOURS[4]]
    own: Any = [colour_of(n)[0] for n in range(len(names))] if of_domains else ACCENT
    for i, (values, colour) in enumerate(zip(series.values(), colours, strict=False)):
        places = [y - 0.38 + thick * (i + 0.5) for y in range(len(names))]
        axes.barh(places, [value or 0.0 for value in values], thick, color=colour if i else own)
        if i == 0 and spreads is not None:
            lengths = [math.nan if spread is None else spread for spread in spreads]
            axes.errorbar(
                [value or 0.0 for value in values], places, xerr=lengths, fmt="none", ecolor=INK
            )
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel(label)
    legend = [Key(name, CSS[colour]) for name, colour in zip(series, colours, strict=False)]
    legend = legend[of_domains:]  # what has the colour of its domain needs no key
    return Chart(title, note, svg_of(figure, title), legend if len(series) > 1 else [])


def lines(
    title: str,
    note: str,
    values: Mapping[str, Points],
    *,
    level: float | None = None,
    mark: int | None = None,
    of_domains: bool = False,
) -> Chart | None:
    """Lines over epochs.

    Args:
        title: heading.
        note: how to read it.
        values: `{name: [(epoch, value)]}`; one without a value is left out.
        level: a horizontal line to compare with; what is below 0.0 is shaded.
        mark: an epoch.
        of_domains: whether each line has the colour of a domain, the n-th that of the n-th.

    Returns:
        The picture; None if there is nothing to draw.
    """
    looks = {
        name: colour_of(n)
        if of_domains
        else ((INK, MUTED, RULE)[n // 2 % 3], "4 2" if n % 2 else "")
        for n, name in enumerate(values)
    }
    lines = {name: points for name, points in values.items() if points}
    if not lines:
        return None
    figure, axes = _figure(height=2.7)
    ranked = sorted(lines, key=lambda name: lines[name][-1][1])
    coloured = {*ranked[: SERIES // 2], *ranked[-SERIES // 2 :]} if len(lines) > SERIES else lines
    legend: list[Key] = []
    for name, points in lines.items():
        colour, dash = MUTED, ""
        if name in coloured:
            colour, dash = looks[name]
            legend.append(Key(name, CSS[colour], dash))
        # A line with one or two epochs would hardly be seen without markers.
        marker = "o" if len(points) < 3 else ""
        style, width = (0, (3, 1.5)) if dash else "-", 1.6 if name in coloured else 0.6
        epochs, heights = zip(*points, strict=True)
        axes.plot(epochs, heights, color=colour, lw=width, ls=style, marker=marker, ms=4)
    if len(lines) > SERIES:
        note += f" In colour: the {SERIES // 2} lowest and the {SERIES // 2} highest at the end."
        legend.append(Key(f"{len(lines) - SERIES} others", "--muted"))
    every = [value for points in lines.values() for _, value in points]
    if level is not None:
        axes.axhline(level, color=INK, lw=0.8)
    elif min(every) > 0 and max(every) > 20 * min(every):
        axes.set_yscale("log")
    if level == 0.0:
        low, high = axes.get_ylim()
        axes.axhspan(low, 0.0, color=MUTED, alpha=0.15, lw=0)
        axes.set_ylim(low, high)
    if mark is not None:
        axes.axvline(mark, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    return Chart(title, note, svg_of(figure, title), legend if len(lines) > 1 else [])


def panels_in(
    figure: Figure, rows: int, columns: int, count: int, sharey: bool = False
) -> list[Axes]:
    """The first `count` of a grid of panels, with small ticks and lines; the others are removed."""
    panels = figure.subplots(rows, columns, sharey=sharey, squeeze=False).flatten()
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[:count]:
        axes.tick_params(labelsize=8)
        axes.grid(lw=0.4)
        axes.set_axisbelow(True)
    return panels[:count].tolist()


def model_dots(comparison: Mapping[str, Any]) -> Figure:
    """NDCG@10 of every model, best overall first, in a panel for all users and one a domain.

    A line is the reference; bars are the spread over seeds.
    """
    places = [OVERALL, *map(shown, comparison["domains"])]
    found = {
        name: [
            model["test"]["overall"][SELECTION_METRIC],
            *(model["test"]["domains"][d][SELECTION_METRIC] for d in comparison["domains"]),
        ]
        for name, model in comparison["models"].items()
    }
    names = sorted(found, key=lambda name: -found[name][0]["mean"])
    rows = -(-len(places) // 4)
    columns = -(-len(places) // rows)
    figure = Figure(
        figsize=(2.5 + 2.4 * columns, rows * (0.8 + 0.21 * len(names))), layout="constrained"
    )
    panels = panels_in(figure, rows, columns, len(places), sharey=True)
    for number, (axes, place) in enumerate(zip(panels, places, strict=True)):
        for y, name in enumerate(names):
            value = found[name][number]
            colour = OF_REFERENCE if name == comparison["reference"] else OF_OTHERS
            # One seed has no spread, and so no bar.
            spread = math.nan if value["std"] is None else value["std"]
            axes.errorbar(value["mean"], y, xerr=spread, fmt="o", ms=4, color=colour)
        axes.axvline(found[comparison["reference"]][number]["mean"], color=OF_REFERENCE, lw=0.8)
        axes.set_title(short(place), size=9)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel("test NDCG@10", size=9)
    return figure


def transfer_bars(
    model: str,
    table: Mapping[str, Any],
    width: float | None = None,
    label: str = "NDCG@10 of the network alone: all domains minus the domain alone",
) -> Figure:
    """What the other domains change in each, with 95 % intervals: left of zero hurts.

    Args:
        model: for the title.
        table: of `verdicts.negative_transfer`, or with `domains` like it.
        width: inches, without a title, for a page that has its own; None for a picture by itself.
        label: of the axis.
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
    axes.set_xlabel(label)
    if width is None:
        title = f"{model}: red is hurt by the other domains, blue is helped"
        axes.set_title(title, size=10)
    axes.grid(axis="x", lw=0.4)
    return figure


def short(name: str) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= 22 else f"{name[:13]}…{name[-8:]}"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()
