"""Validation NDCG@10 over each setting of a grid, as the paper's Figure 3 has it over r and K."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_syncrec.comparison.names import Place, domains_in
from tf_syncrec.reporting.pictures.charts import WIDTH, Chart, Key, panels_in, short
from tf_syncrec.reporting.pictures.svg import CSS, SERIES, colour_of, svg_of

CHOSEN = "#000000"
"""Of the ring around what was chosen; text on a page of either theme."""


class Dot(NamedTuple):
    """A trial in the panel of one setting.

    Attributes:
        at: number of its value, from the left.
        validation: NDCG@10.
        chosen: whether it was.
    """

    at: int
    validation: float
    chosen: bool


class Panel(NamedTuple):
    """What one setting does.

    Attributes:
        values: from the left: numbers rising, others in the order in which they were tried.
        dots: a dot a trial, of each training's domains.
    """

    values: Sequence[Any]
    dots: Mapping[Place, Sequence[Dot]]


def panels_of(trials: Sequence[Mapping[str, Any]]) -> dict[str, Panel]:
    """What is drawn of a network, by setting.

    Args:
        trials: of a model, as `comparison.json` has them; those in which popularity stood in, which
            no setting changes, are left out.

    Returns:
        A panel for each setting with more than one value.
    """
    trained = [trial for trial in trials if not trial["stand_in"]]
    found = {}
    for setting in trained[0]["settings"] if trained else ():
        values = list(dict.fromkeys(trial["settings"][setting] for trial in trained))
        if all(isinstance(value, int | float) for value in values):
            values.sort()
        dots: dict[Place, list[Dot]] = {}
        for trial in trained:
            domain = trial["domain"]
            place = tuple(domain) if isinstance(domain, list) else domain  # JSON has no tuples
            at = values.index(trial["settings"][setting])
            dots.setdefault(place, []).append(Dot(at, trial["validation"], trial["chosen"]))
        if len(values) > 1:
            found[setting] = Panel(values, dots)
    return found


def grid_picture(model: str, panels: Mapping[str, Panel], width: float | None = None) -> Figure:
    """A panel a setting: trials as dots, a line through the best of each value, a ring: chosen.

    Args:
        model: for the title.
        panels: of `panels_of`, one or more.
        width: inches, without title and legend, for a page that has its own; None for a picture
            by itself.
    """
    columns = min(2 if width else 4, len(panels))
    rows = -(-len(panels) // columns)
    size = (width or 1.5 + 2.5 * columns, 0.3 + (2.1 if width else 2.6) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = panels_in(figure, rows, columns, len(panels), sharey=True)
    for axes, (setting, panel) in zip(grid, panels.items(), strict=True):
        for number, (place, dots) in enumerate(panel.dots.items()):
            _draw(axes, dots, f"C{number % SERIES}", "--" if colour_of(number)[1] else "-", place)
        texts = [short(str(value)) for value in panel.values]
        axes.set_xticks(range(len(texts)), texts)
        if max(map(len, texts)) > 7:
            axes.tick_params(axis="x", labelrotation=20)
        axes.set_xlim(-0.4, len(texts) - 0.6)
        axes.set_title(setting, size=9)
    figure.supylabel("validation NDCG@10", size=9)
    if width is None:
        figure.suptitle(f"{model}: dots are trials, the ring is what was chosen", size=10)
        if len(_legend(panels)):
            figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def grid_chart(model: str, panels: Mapping[str, Panel]) -> Chart:
    """`grid_picture` for a page, drawn under `svg.RC`."""
    title = f"What each setting does: {model}"
    note = "A dot is a trial, the line joins the best of each value, the ring is what was chosen."
    return Chart(title, note, svg_of(grid_picture(model, panels, WIDTH), title), _legend(panels))


def _draw(axes: Axes, dots: Sequence[Dot], colour: str, style: str, place: Place) -> None:
    """The trials of one training's domains in the panel of one setting."""
    best: dict[int, float] = {}
    for dot in dots:
        axes.plot(dot.at, dot.validation, "o", ms=4, color=colour, alpha=0.6)
        best[dot.at] = max(dot.validation, best.get(dot.at, dot.validation))
        if dot.chosen:
            axes.plot(dot.at, dot.validation, "o", ms=10, mfc="none", mec=CHOSEN, mew=1.2)
    values, heights = zip(*sorted(best.items()), strict=True)
    axes.plot(values, heights, style, color=colour, lw=1.4, label=_name(place) or None)


def _legend(panels: Mapping[str, Panel]) -> list[Key]:
    """The lines of one panel, which are those of all; none where all domains are one training."""
    first = next(iter(panels.values()))
    looks = [colour_of(number) for number in range(len(first.dots))]
    return [
        Key(_name(place), CSS[colour], dash)
        for place, (colour, dash) in zip(first.dots, looks, strict=True)
        if place is not None
    ]


def _name(place: Place) -> str:
    return short(" + ".join(domains_in(place)))
