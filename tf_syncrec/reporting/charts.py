"""Pictures that stand inside of a page, in the page's colours."""

import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib
from cycler import cycler
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SERIES = 8  # lines told apart by colour; with more domains the others stay grey
WIDTH = 5.0  # inches; narrow, so that the text stays readable when a phone scales the picture

VERDICT_COLOURS = {
    "hurt": "#c0392b",
    "helped": "#2471a3",
    "no clear difference": "#909497",
    "not trained alone": "#d5d8dc",
}

# Matplotlib draws with these stand-ins, which become CSS variables: one picture fits both themes.
INK, MUTED, RULE = "#010101", "#010102", "#010103"
COLOURS = [f"#0200{i:02x}" for i in range(SERIES)]
CSS = (
    {INK: "--ink", MUTED: "--muted", RULE: "--rule", "#000000": "--ink"}
    | {colour: f"--s{i}" for i, colour in enumerate(COLOURS)}
    | {VERDICT_COLOURS["hurt"]: "--hurt", VERDICT_COLOURS["helped"]: "--helped"}
    | {VERDICT_COLOURS["no clear difference"]: "--muted"}
    | {VERDICT_COLOURS["not trained alone"]: "--rule"}
)
RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's font and colour
    "text.parse_math": False,  # a domain may be called "$"
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "grid.color": RULE,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("text.color", "axes.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
}
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
) -> Chart:
    """Bars side by side; the height follows the number of names.

    Args:
        title: heading.
        note: how to read it.
        names: of the rows.
        series: `{name: a value a row}`; the second one is grey.
        spreads: of the first series, a value a row.
        label: of the axis.
    """
    figure, axes = _figure(height=0.9 + 0.32 * len(names))
    thick = 0.76 / len(series)
    colours = [COLOURS[0], MUTED, *COLOURS[1:]]
    for i, (values, colour) in enumerate(zip(series.values(), colours, strict=False)):
        places = [y - 0.38 + thick * (i + 0.5) for y in range(len(names))]
        axes.barh(places, [value or 0.0 for value in values], thick, color=colour)
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
    return Chart(title, note, svg_of(figure, title), legend if len(series) > 1 else [])


def lines(
    title: str,
    note: str,
    values: Mapping[str, Points],
    *,
    level: float | None = None,
    mark: int | None = None,
) -> Chart | None:
    """Lines over epochs.

    Args:
        title: heading.
        note: how to read it.
        values: `{name: [(epoch, value)]}`; one without a value is left out.
        level: a horizontal line to compare with; what is below 0.0 is shaded.
        mark: an epoch.

    Returns:
        The picture; None if there is nothing to draw.
    """
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
            colour, dash = COLOURS[len(legend)], "4 2" if len(legend) >= SERIES // 2 else ""
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


def short(name: str) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= 22 else f"{name[:13]}…{name[-8:]}"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def svg_of(figure: Figure, name: str) -> Markup:
    """Turns a figure into an `<svg>` for inlining: themed, and with ids that are its own."""
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue().decode(), flags=re.S)
    view = re.findall(r'viewBox="[^"]*"', svg)[0]
    start = f'<svg role="img" aria-label="{escape(name)}" {view}>'
    svg = re.sub(r"^.*?<svg[^>]*>", lambda _: start, svg, flags=re.S)
    prefix = re.sub(r"\W+", "-", name, flags=re.ASCII)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in CSS.items():
        svg = svg.replace(colour, f"var({variable})")
    return Markup(svg)
