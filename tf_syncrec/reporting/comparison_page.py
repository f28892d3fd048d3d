"""A comparison as one HTML file: the tables of `comparison.md`, pictures, curves, the data."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from markdown_it import MarkdownIt
from markupsafe import Markup

from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.charts import RC, WIDTH, Chart, Key, bars, svg_of
from tf_syncrec.reporting.comparison_charts import transfer_bars
from tf_syncrec.reporting.page import curves, gates_at, read_json, render

VERDICTS = [
    Key("hurt", "--hurt"),
    Key("helped", "--helped"),
    Key("no clear difference", "--muted"),
    Key("not trained alone", "--rule"),
]


def comparison_page(
    comparison: Mapping[str, Any], text: str, trainings: Mapping[str, Sequence[Mapping]]
) -> str:
    """The page, which loads nothing.

    Args:
        comparison: what `comparison.json` holds.
        text: `comparison.md` without pictures.
        trainings: `history.json` of some models, by what it is called here.
    """
    models = comparison["models"]
    overall = [model["test"]["overall"][SELECTION_METRIC] for model in models.values()]
    with matplotlib.rc_context(RC):
        charts = [
            bars(
                "NDCG@10 of the models",
                "Over all domains; the thin lines are deviations over seeds.",
                list(models),
                {"mean": [value["mean"] for value in overall]},
                [value["std"] for value in overall],
            )
        ]
        for model, table in comparison["negative_transfer"].items():
            title = f"Trained on all domains, or on one: {model}"
            note = "Left of zero the other domains hurt; a line is the 95 % interval over users."
            figure = transfer_bars(model, table, width=WIDTH)
            charts.append(Chart(title, note, svg_of(figure, title), VERDICTS))
        shown = [
            (
                name,
                curves(history, comparison["domains"], _best(history), f" ({name})"),
                gates_at(history, _best(history)),
            )
            for name, history in trainings.items()
        ]
    best = max(models, key=lambda name: models[name]["test"]["overall"][SELECTION_METRIC]["mean"])
    result = models[best]["test"]["overall"]
    return render(
        "comparison.html.j2",
        best=best,
        score=result[SELECTION_METRIC]["mean"],
        users=result["users"],
        comparison=comparison,
        charts=charts,
        trainings=shown,
        tables=_html(text),
        config=yaml.safe_dump(comparison["config"], sort_keys=False),
    )


def histories(root: Path, cells: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """Epochs of each network of all domains, of its first seed.

    Args:
        root: directory of the comparison.
        cells: finished ones.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        history = read_json(cell.directory(root) / "history.json")
        if history and cell.domain is None and cell.model.text not in found:
            found[cell.model.text] = history
    return found


def _best(history: Sequence[Mapping]) -> int:
    """The epoch that was kept, counted from 1."""
    return 1 + max(
        range(len(history)), key=lambda epoch: history[epoch]["validation"][SELECTION_METRIC]
    )


def _html(text: str) -> Markup:
    """Tables and headings; a domain may be called anything, and brings no markup of its own."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["image", "link", "autolink", "html_inline", "html_block", "entity"])
    html = reader.render(text).replace("<table>", '<div class="scroll"><table>')
    # A narrow page breaks "+0.1 [-0.1, +0.2] p 1" before the interval and before p, nowhere else.
    html = re.sub(r"(?<=\d,) (?=[+-]\d)| (?=± \d)|(?<=±) (?=\d)|(?<=\bp) (?=\d)", "\u00a0", html)
    verdict = r"<td>(hurt|helped)</td>(?=\s*</tr>)"  # the last cell of a row; a domain is the first
    html = re.sub(verdict, r'<td class="strong \1">\1</td>', html)
    return Markup(html.replace("</table>", "</table></div>"))
