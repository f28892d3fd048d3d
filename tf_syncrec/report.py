"""The HTML report of a run: one file without network access, from the run directory only."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tf_syncrec.files import write_whole
from tf_syncrec.metrics import SELECTION_METRIC
from tf_syncrec.tables import flat

METRICS = (SELECTION_METRIC, "ndcg@5", "hr@10", "hr@5", "mrr")
LOSSES = {"total": "loss", "single": "loss_single", "cross": "loss_cross", "SC-MIM": "loss_mim"}
NEUTRAL_GAP = 0.01  # a loss gap nearer to zero than this is called neither help nor harm
SERIES = 8  # lines told apart by colour; with more domains the others stay grey
WIDTH = 5.0  # inches; narrow, so that the text stays readable when a phone scales the picture

# Matplotlib draws with these stand-ins, which become CSS variables: one picture fits both themes.
INK, MUTED, RULE = "#010101", "#010102", "#010103"
COLOURS = [f"#0200{i:02x}" for i in range(SERIES)]
CSS = {INK: "--ink", MUTED: "--muted", RULE: "--rule"} | {c: f"--s{c[-1]}" for c in COLOURS}
RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's font and colour
    "text.parse_math": False,  # a domain may be called "$"
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


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into a run directory.

    Args:
        run_dir: a directory with `metrics.json`; `history.json` and `config.yaml` are optional.

    Returns:
        The path of the report.
    """
    run_dir = Path(run_dir)
    metrics = _read_json(run_dir / "metrics.json")
    if metrics is None:
        raise FileNotFoundError(f"A report needs metrics.json in the run. Received: {run_dir}")
    history = _read_json(run_dir / "history.json") or []
    config = run_dir / "config.yaml"
    test, training = metrics["test"], metrics.get("training", {})
    popularity = metrics.get("baselines", {}).get("popularity", {}).get("test", {})
    beside = popularity.get("domains", {})
    rows = [_row(domain, test["domains"][domain], beside.get(domain)) for domain in test["domains"]]
    transfer = metrics.get("negative_transfer", {})
    with matplotlib.rc_context(RC):
        curves = _curves(history, list(test["domains"]), training.get("best_epoch"))
        charts = [_bars(rows, bool(popularity)), *curves]

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, trim_blocks=True)
    environment.filters["number"] = _number
    page = environment.get_template("report.html.j2").render(
        name=run_dir.resolve().name,
        metrics=METRICS,
        overall=_row("overall", test["overall"], popularity.get("overall")),
        validation=metrics.get("validation", {}).get("overall", {}),
        rows=rows,
        transfer=sorted(transfer.items(), key=lambda item: item[1]["gap"]),
        even=sum(values["lambda"] for values in transfer.values()) / max(len(transfer), 1),
        neutral_gap=NEUTRAL_GAP,
        charts=charts,
        training=training,
        last=history[-1] if history else {},
        protocol=flat(metrics.get("protocol", {})),
        versions=flat(training.get("versions", {})),
        config=config.read_text(encoding="utf-8") if config.exists() else None,
    )
    path = run_dir / "report.html"
    write_whole(path, page)
    return path


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _number(value: Any, digits: int = 4) -> str:
    """Formats a table's value; what is missing becomes a dash."""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return "–" if not isinstance(value, int) else f"{value:,}"


def _row(name: str, result: Mapping[str, Any], popularity: Mapping[str, Any] | None) -> dict:
    """One row of the results table; numbers of a domain without test users are blank."""
    users = result.get("users", 0)
    row = {metric: result.get(metric) if users else None for metric in METRICS}
    base = popularity.get(SELECTION_METRIC) if popularity and users else None
    ratio = row[SELECTION_METRIC] / base if base and row[SELECTION_METRIC] is not None else None
    return row | {"name": name, "users": users, "popularity": base, "ratio": ratio}


def _bars(rows: Sequence[Mapping[str, Any]], with_popularity: bool) -> Chart:
    """NDCG@10 of every domain beside popularity; the height follows the number of domains."""
    figure, axes = _figure(height=0.9 + 0.32 * len(rows))
    legend = [Key("this run", "--s0")] + [Key("popularity", "--muted")] * with_popularity
    names = [n if len(n) <= 22 else f"{n[:13]}…{n[-8:]}" for n in (row["name"] for row in rows)]
    thick = 0.76 / len(legend)
    for i, (field, colour) in enumerate([(SELECTION_METRIC, COLOURS[0]), ("popularity", MUTED)]):
        places = [y - 0.38 + thick * (i + 0.5) for y in range(len(rows))]
        if i < len(legend):
            axes.barh(places, [row[field] or 0.0 for row in rows], thick, color=colour)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel("NDCG@10 (test)")
    return Chart("NDCG@10 per domain", "Longer is better.", _svg(figure, "bars"), legend)


def _curves(history: Sequence[Mapping], domains: Sequence[str], best: int | None) -> list[Chart]:
    """The pictures over epochs; one without any value in the history is left out."""
    losses = {label: _series(history, key) for label, key in LOSSES.items()}
    validation = {"validation": _series(history, "validation", SELECTION_METRIC)}
    weights = {domain: _series(history, "domains", domain, "lambda") for domain in domains}
    gaps = {domain: _series(history, "domains", domain, "gap") for domain in domains}
    last = [points[-1][1] for points in weights.values() if points]
    even = sum(last) / max(len(last), 1)
    kept = f"The dashed line marks epoch {best}, whose weights were kept." if best else ""
    share = "Weight of a domain's cross-domain loss; the thin line is an even share."
    charts = [
        _lines("Training losses", "Mean of each epoch.", losses),
        _lines("Validation NDCG@10", kept, validation, mark=best),
        _lines("λ per domain", share, weights, level=even),
        _lines("Gap per domain", "In the shaded part the other domains hurt.", gaps, level=0.0),
    ]
    return [chart for chart in charts if chart is not None]


def _lines(
    title: str,
    note: str,
    lines: Mapping[str, Points],
    *,
    level: float | None = None,
    mark: int | None = None,
) -> Chart | None:
    """Draws lines over epochs, with a horizontal line to compare with and a marked epoch."""
    lines = {name: points for name, points in lines.items() if points}
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
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, color=colour, lw=width, ls=style, marker=marker, ms=4)
    if len(lines) > SERIES:
        note += f" In colour: the {SERIES // 2} lowest and the {SERIES // 2} highest at the end."
        legend.append(Key(f"{len(lines) - SERIES} others", "--muted"))
    heights = [value for points in lines.values() for _, value in points]
    if level is not None:
        axes.axhline(level, color=INK, lw=0.8)
    elif min(heights) > 0 and max(heights) > 20 * min(heights):
        axes.set_yscale("log")
    if level == 0.0:
        low, high = axes.get_ylim()
        axes.axhspan(low, 0.0, color=MUTED, alpha=0.15, lw=0)
        axes.set_ylim(low, high)
    if mark is not None:
        axes.axvline(mark, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    return Chart(title, note, _svg(figure, title), legend if len(lines) > 1 else [])


def _series(history: Sequence[Mapping], *keys: str) -> Points:
    """The `(epoch, value)` of one quantity, without the epochs that lack it."""
    points = []
    for row in history:
        value: Any = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((row["epoch"], float(value)))
    return points


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> Markup:
    """Turns a figure into an `<svg>` for inlining: themed, and with ids that are its own."""
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue().decode(), flags=re.S)
    view = re.findall(r'viewBox="[^"]*"', svg)[0]
    svg = re.sub(r"^.*?<svg[^>]*>", f'<svg role="img" aria-label="{name}" {view}>', svg, flags=re.S)
    prefix = re.sub(r"\W+", "-", name, flags=re.ASCII)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in CSS.items():
        svg = svg.replace(colour, f"var({variable})")
    return Markup(svg)
