"""`report.html` of a run: one file without network access, from the run directory only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from data_prep import InputError
from data_prep.files import write_whole
from tf_syncrec.metrics.gains import SELECTION_METRIC, shown_split
from tf_syncrec.reporting.html import read_json, render
from tf_syncrec.reporting.pictures.answer_picture import answer_picture
from tf_syncrec.reporting.pictures.charts import WIDTH, Chart, Key, bars, transfer_bars
from tf_syncrec.reporting.pictures.svg import CSS, RC, VERDICT_COLOURS, colour_of, svg_of
from tf_syncrec.reporting.pictures.training_curves import curves, gates_at
from tf_syncrec.reporting.run_answer import answer_of
from tf_syncrec.reporting.target_kinds import kinds_of
from tf_syncrec.utils.nested import flat

METRICS = (SELECTION_METRIC, "ndcg@5", "hr@10", "hr@5", "mrr")


def write_report(
    run_dir: Path,
    titles: Mapping[str, str] | None = None,
    comparison: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `report.html` into a run directory.

    Args:
        run_dir: a directory with `metrics.json`; its other files are optional.
        titles: of items; ids stand alone where there is none.
        comparison: a `comparison.json` of the same data, for the numbers of training on each
            domain alone.

    Returns:
        The path of the report.
    """
    run_dir = Path(run_dir)
    metrics = read_json(run_dir / "metrics.json")
    if metrics is None:
        raise FileNotFoundError(f"A report needs metrics.json in the run. Received: {run_dir}")
    history = read_json(run_dir / "history.json") or []
    config = run_dir / "config.yaml"
    split, training = shown_split(metrics), metrics.get("training", {})
    result = metrics[split]
    popularity = metrics.get("baselines", {}).get("popularity", {}).get(split, {})
    beside = popularity.get("domains", {})
    alone = _trained_alone(comparison) if comparison else {}
    over = metrics.get("over_popularity", {}).get("domains", {})
    rows = [
        _row(domain, result["domains"][domain], beside.get(domain), alone.get(domain))
        | {"over": over.get(domain), "colour": CSS[colour_of(number)[0]]}
        for number, domain in enumerate(result["domains"])
    ]
    overall = _row("overall", result["overall"], popularity.get("overall"), alone.get(None))
    transfer = metrics.get("negative_transfer", {})
    views = metrics.get("views", {})
    between = metrics.get("influence", {})
    changes = [abs(cell["change"]) for cells in between.values() for cell in cells.values()]
    best = training.get("best_epoch")
    verdicts = {name: row["verdict"] for name, row in views.get("domains", {}).items()}
    with matplotlib.rc_context(RC):
        picture = answer_picture(rows, verdicts)
        chart = _bars(rows, split, bool(popularity), bool(alone))
        of_training = curves(history, list(result["domains"]), best)
        views_chart = _views_chart(views) if views else None
    page = render(
        "run.html.j2",
        name=run_dir.resolve().name,
        answer=answer_of(metrics, overall, rows, run_dir),
        picture=picture,
        metrics=METRICS,
        split=split,
        overall=overall | {"over": metrics.get("over_popularity", {}).get("overall")},
        validation=metrics.get("validation", {}).get("overall", {}),
        rows=rows,
        chart=chart,
        alone=bool(alone),
        transfer=sorted(transfer.items(), key=lambda item: item[1]["gap"]),
        even=sum(values["lambda"] for values in transfer.values()) / max(len(transfer), 1),
        view_weights=metrics.get("view_weights", {}),
        views=views,
        views_chart=views_chart,
        influence=between,
        strongest=max(changes, default=0.0),
        kinds=kinds_of(metrics.get("breakdown", {})),
        beyond=metrics.get("beyond_accuracy", {}),
        selection=metrics.get("selection", {}),
        gates=gates_at(history, best),
        curves=of_training,
        training=training,
        tuning=metrics.get("tuning"),
        last=history[-1] if history else {},
        samples=read_json(run_dir / "samples.json") or [],
        new_items=read_json(run_dir / "new_items.json") or [],
        titles=titles or {},
        data_card=read_json(run_dir / "data_card.json") or {},
        protocol=[
            (key.replace("_", " ").replace(".", ", "), value)
            for key, value in flat(metrics.get("protocol", {}))
        ],
        versions=flat(training.get("versions", {})),
        config=config.read_text(encoding="utf-8") if config.exists() else None,
    )
    path = run_dir / "report.html"
    write_whole(path, page)
    return path


def _trained_alone(comparison: Mapping[str, Any]) -> dict[str | None, float]:
    """NDCG@10 by domain of the models of a single domain; None: overall."""
    single = [name for name in comparison["models"] if name.endswith("_single")]
    if not single:
        raise InputError(
            "--comparison: has no model that was trained on each domain alone; its models are "
            + ", ".join(comparison["models"])
        )
    name = "syncrec_single" if "syncrec_single" in single else single[0]
    test = comparison["models"][name]["test"]
    return {None: test["overall"][SELECTION_METRIC]["mean"]} | {
        domain: values[SELECTION_METRIC]["mean"] for domain, values in test["domains"].items()
    }


def _row(
    name: str,
    result: Mapping[str, Any],
    popularity: Mapping[str, Any] | None,
    alone: float | None = None,
) -> dict:
    """One row of the results table; numbers of a domain without users are blank."""
    users = result.get("users", 0)
    row = {metric: result.get(metric) if users else None for metric in METRICS}
    base = popularity.get(SELECTION_METRIC) if popularity and users else None
    ratio = row[SELECTION_METRIC] / base if base and row[SELECTION_METRIC] is not None else None
    more = {"name": name, "users": users, "popularity": base, "ratio": ratio}
    return row | more | {"alone": alone if users else None}


def _views_chart(views: Mapping[str, Any]) -> Chart:
    """What the history of all domains adds to that of the domain alone, with intervals."""
    title, label = "All domains, or the domain alone?", "validation NDCG@10: all less alone"
    domains = {
        name: {"difference": row["cross_less_single"], "verdict": row["verdict"]}
        for name, row in views["domains"].items()
    }
    svg = svg_of(transfer_bars("", {"domains": domains}, WIDTH, label), title)
    note = "Left of zero the other domains hurt; a line is the 95 % interval over users."
    seen = {row["verdict"] for row in domains.values()}
    legend = [Key(name, CSS[colour]) for name, colour in VERDICT_COLOURS.items() if name in seen]
    return Chart(title, note, svg, legend)


def _bars(rows: list[dict[str, Any]], split: str, with_popularity: bool, with_alone: bool) -> Chart:
    """NDCG@10 of every domain beside what it can be compared with."""
    series = {"this run": [row[SELECTION_METRIC] for row in rows]}
    if with_popularity:
        series["popularity"] = [row["popularity"] for row in rows]
    if with_alone:
        series["trained on the domain alone"] = [row["alone"] for row in rows]
    names = [row["name"] for row in rows]
    label = f"NDCG@10 ({split})"
    note = "Longer is better."
    return bars("NDCG@10 per domain", note, names, series, label=label, of_domains=True)
