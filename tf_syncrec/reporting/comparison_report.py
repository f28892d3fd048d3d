"""The files of a comparison: JSON, Markdown, `report.html`, pictures, ranks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from data_prep.files import write_whole, written_whole
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.comparison_answer import answer_of
from tf_syncrec.reporting.comparison_tables import sections_of
from tf_syncrec.reporting.html import read_json, render
from tf_syncrec.reporting.pictures.charts import WIDTH, Chart, Key, bars, model_dots, transfer_bars
from tf_syncrec.reporting.pictures.grid_picture import grid_chart, grid_picture, panels_of
from tf_syncrec.reporting.pictures.svg import CSS, RC, VERDICT_COLOURS, svg_of
from tf_syncrec.reporting.pictures.training_curves import curves, gates_at
from tf_syncrec.reporting.sections import markdown

Histories = Mapping[str, Sequence[Mapping[str, Any]]]
"""`history.json` of some models, by what they are called."""


def write_comparison(
    root: Path, comparison: Mapping[str, Any], ranks: pa.Table, trainings: Histories
) -> list[Path]:
    """Writes the files of a comparison; returns their paths.

    Args:
        root: directory of the comparison.
        comparison: what `comparison.json` holds.
        ranks: what `ranks.parquet` holds.
        trainings: of `histories`.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        pictures = {"comparison.png": model_dots(comparison)}
        for model, table in comparison["negative_transfer"].items():
            name = f"negative_transfer-{model.replace(':', '-')}.png"
            pictures[name] = transfer_bars(model, table)
        for model, tuning in comparison["tuning"].items():
            if panels := panels_of(tuning["trials"]):
                pictures[f"grid-{model}.png"] = grid_picture(model, panels)
    names = ("comparison.json", "comparison.md", "report.html", *pictures)
    files = [root / name for name in names]
    write_whole(files[0], json.dumps(comparison, indent=1, allow_nan=False) + "\n")
    write_whole(files[1], markdown("Comparison", sections_of(comparison), list(pictures)))
    write_whole(files[2], comparison_page(comparison, trainings))
    for name, figure in pictures.items():
        with written_whole(root / name) as new:
            figure.savefig(new, dpi=150)
    with written_whole(root / "ranks.parquet") as new:
        pq.write_table(ranks, new, compression="zstd")
    return [*files, root / "ranks.parquet"]


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


def comparison_page(comparison: Mapping[str, Any], trainings: Histories) -> str:
    """The page, which loads nothing; what is in it sorts its tables.

    Args:
        comparison: what `comparison.json` holds.
        trainings: of `histories`.
    """
    models = comparison["models"]
    overall = {name: model["test"]["overall"] for name, model in models.items()}
    values = [row[SELECTION_METRIC] for row in overall.values()]
    with matplotlib.rc_context(RC):
        charts = [
            bars(
                "NDCG@10 of the models",
                "Over all domains; the thin lines are deviations over seeds.",
                list(models),
                {"mean": [value["mean"] for value in values]},
                [value["std"] for value in values],
            )
        ]
        for model, table in comparison["negative_transfer"].items():
            title = f"Trained on all domains, or on one: {model}"
            note = (
                "By the network alone, nothing on top. Left of zero the other domains hurt; a "
                "line is the 95 % interval over users."
            )
            svg = svg_of(transfer_bars(model, table, width=WIDTH), title)
            legend = [Key(verdict, CSS[colour]) for verdict, colour in VERDICT_COLOURS.items()]
            charts.append(Chart(title, note, svg, legend))
        for model, tuning in comparison["tuning"].items():
            if panels := panels_of(tuning["trials"]):
                charts.append(grid_chart(model, panels))
        shown = []
        for name, history in trainings.items():
            best = _best_epoch(history)
            pictures = curves(history, comparison["domains"], best, f" ({name})")
            shown.append((name, pictures, gates_at(history, best)))
    answer = answer_of(comparison)
    return render(
        "comparison.html.j2",
        answer=answer,
        score=overall[answer.best][SELECTION_METRIC]["mean"],
        users=overall[answer.best]["users"],
        comparison=comparison,
        charts=charts,
        trainings=shown,
        sections=sections_of(comparison),
        config=yaml.safe_dump(comparison["config"], sort_keys=False),
    )


def _best_epoch(history: Sequence[Mapping]) -> int:
    """The epoch that was kept, counted from 1."""
    return 1 + max(
        range(len(history)), key=lambda epoch: history[epoch]["validation"][SELECTION_METRIC]
    )
