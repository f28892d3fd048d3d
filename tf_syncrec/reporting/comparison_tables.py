"""What a comparison says in words and tables, from `comparison.json` alone."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_syncrec.comparison.libraries.library import LIBRARIES
from tf_syncrec.comparison.presets import SINGLE_DOMAIN
from tf_syncrec.evaluation import OVERALL, by_domain, shown
from tf_syncrec.evaluation.significance import SIGNIFICANCE
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC
from tf_syncrec.models.registry import FULL
from tf_syncrec.reporting.sections import NBSP, Cell, Section, Table
from tf_syncrec.reporting.target_kinds import GROUPS
from tf_syncrec.reporting.terminal_tables import mean_and_spread
from tf_syncrec.utils.nested import flat

TRANSFER = (
    "NDCG@10 of the same network trained on a domain alone and on all domains together, by the "
    "network's score alone, without the terms fitted after training (votes of neighbours, repeat "
    "consumption, trend): these use other data in one domain than in all, whatever was learned. "
    f"`hurt` and `helped`: the difference is significant (p < {SIGNIFICANCE} after Holm's "
    "correction over the domains) and every seed of one is above every seed of the other; one seed "
    "does not show the variation between trainings. `not trained alone`: no training data, "
    "popularity is used instead."
)
WITH_VOTES = (
    "The same by the score that would be served, with votes of neighbours and all other terms that "
    "are fitted after training, and what they add to either training. A difference here may come "
    "from these terms alone, so it is no evidence of negative transfer."
)

AGAINST_SINGLE = (
    f"Change in test metrics against `{SINGLE_DOMAIN}`, one model a domain, of what is trained on "
    "several domains, means over seeds. Below 0 a domain would be better off alone with that "
    "model; the models differ in more than their data, so it is no test of negative transfer."
)


def sections_of(comparison: Mapping[str, Any]) -> list[Section]:
    """All that a comparison says in words and numbers."""
    reference = comparison["reference"]
    found = [
        Section("How it was measured", items=_protocol(comparison)),
        Section(
            "Overall",
            "Mean ± standard deviation over seeds, of one seed without; best in bold.",
            table=_metric_table(comparison),
        ),
        Section(
            f"NDCG@10 against {reference}",
            "Difference in test NDCG@10 with its 95 % interval over users (paired bootstrap of the "
            "means over seeds). p of the domains is corrected by Holm; * marks "
            f"p < {SIGNIFICANCE}.",
            table=_difference_table(comparison),
        ),
        Section("NDCG@10 per domain", table=_domain_table(comparison, SELECTION_METRIC)),
        Section("HR@10 per domain", table=_domain_table(comparison, "hr@10")),
    ]
    if comparison["negative_transfer"]:
        found.append(Section("Negative transfer: which domains are hurt?", TRANSFER))
    for model, table in comparison["negative_transfer"].items():
        found.append(Section(model, table=_transfer_table(table), level=3))
        if shipped := comparison["negative_transfer_with_votes"].get(model):
            title = f"{model}, with votes"
            found.append(Section(title, WITH_VOTES, table=_votes_table(shipped), level=3))
    paired = {name: model for name, model in comparison["models"].items() if model.get("pairs")}
    if paired:
        text = "Of each domain trained together with one other, means over seeds."
        found.append(Section("NDCG@10 by the other domain of the pair", text))
    for name, model in paired.items():
        found.append(Section(name, table=_pairs_table(model), level=3))
    if comparison["ablation"]:
        found.append(Section("Ablation (Table 5 of the paper)", table=_ablation_table(comparison)))
    if SINGLE_DOMAIN in comparison["models"]:
        found.append(Section("Against one model a domain (Table 4 of the paper)", AGAINST_SINGLE))
        for metric in ("hr@5", "ndcg@5", "mrr"):
            table = _against_single_table(comparison, metric)
            found.append(Section(metric.upper(), table=table, level=3))
    if comparison["tuning"]:
        found.append(Section("Tuning: what was tried", _tuning_text(comparison)))
    for model, tuning in comparison["tuning"].items():
        found.append(Section(f"Trials of {model}", table=_tuning_table(tuning), level=3))
    found += [
        Section(
            "Breakdown by kind of target",
            "NDCG@10 by kind of target, and in brackets the share of all hits at 10.",
            table=_breakdown_table(comparison),
        ),
        Section("Cost", table=_cost_table(comparison)),
        Section("Each metric per domain"),
    ]
    for domain in comparison["domains"]:
        found.append(Section(domain, table=_metric_table(comparison, domain), level=3))
    return found


def _protocol(comparison: Mapping[str, Any]) -> list[str]:
    settings = comparison["config"]
    least = settings["train"]["min_steps"]
    return [
        *(f"{key}: {value}" for key, value in flat(comparison["protocol"])),
        f"epochs of a network: at most {settings['train']['epochs']}"
        + (f", or as many as make {least:,} steps" if least else ""),
        *(
            f"of {library.title}: {key} = {value}"
            for library in LIBRARIES
            for key, value in flat(settings.get(library.key, {}))  # not in tables from before
            if key.rpartition(".")[2] in ("epochs", "pretrain_epochs")
        ),
        f"targets never seen in training: {comparison['cold_target_share']:.2%}",
        *(f"`{name}`: {model['about']}" for name, model in comparison["models"].items()),
        *(
            f"left out: {', '.join(f'`{name}`' for name in names)}: {why}"
            for why, names in comparison.get("left_out", {}).items()
        ),
    ]


def _spread(value: Mapping[str, Any]) -> str:
    return mean_and_spread(value).replace(" ", NBSP)


def _best_in_bold(rows: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Cell]:
    """A metric of every model."""
    best = max((row[metric]["mean"] for row in rows.values()), default=0.0)
    return {
        name: Cell(_spread(row[metric]), bold=row[metric]["mean"] == best > 0)
        for name, row in rows.items()
    }


def _metric_table(comparison: Mapping[str, Any], domain: str | None = None) -> Table:
    tests = {name: model["test"] for name, model in comparison["models"].items()}
    rows = {
        name: test["overall"] if domain is None else test["domains"][domain]
        for name, test in tests.items()
    }
    columns = [_best_in_bold(rows, metric) for metric in METRICS]
    seeds = {name: len(model["seeds"]) or "-" for name, model in comparison["models"].items()}
    users = next(iter(rows.values()))["users"]
    return Table(
        [f"{users:,} users", "seeds", *(metric.upper() for metric in METRICS)],
        [[name, str(seeds[name]), *(column[name] for column in columns)] for name in rows],
    )


def _domain_table(comparison: Mapping[str, Any], metric: str) -> Table:
    models, domains = comparison["models"], comparison["domains"]
    columns = [
        _best_in_bold({name: m["test"]["domains"][domain] for name, m in models.items()}, metric)
        for domain in domains
    ]
    return Table(["", *domains], [[name, *(column[name] for column in columns)] for name in models])


def _difference(row: Mapping[str, Any]) -> str:
    """A narrow page may break it before the interval and before p, nowhere else."""
    p = row.get("p_holm", row["p_value"])
    star = "*" if p < SIGNIFICANCE else ""
    interval = f"[{row['low']:+.4f},{NBSP}{row['high']:+.4f}]"
    return f"{row['mean']:+.4f}{star} {interval} p{NBSP}{p:.3g}"


def _difference_table(comparison: Mapping[str, Any]) -> Table:
    rows = []
    for name, model in comparison["models"].items():
        if found := model["against_reference"].get(SELECTION_METRIC):
            cells = [found["overall"], *(found["domains"][d] for d in comparison["domains"])]
            rows.append([name, *map(_difference, cells)])
    return Table(["", OVERALL, *map(shown, comparison["domains"])], rows)


TRAINED_BOTH_WAYS = ["", "users", "alone", "all domains", "change", "difference"]


def _both_ways(name: str, row: Mapping[str, Any]) -> list[str | Cell]:
    """The columns `TRAINED_BOTH_WAYS` of a row."""
    change = "-" if row["change"] is None else f"{row['change']:+.1%}"
    numbers = [f"{row['alone']:.4f}", f"{row['all_domains']:.4f}", change]
    return [name, f"{row['users']:,}", *numbers, _difference(row["difference"])]


def _transfer_table(table: Mapping[str, Any]) -> Table:
    rows = []
    for name, row in by_domain(table).items():
        verdict = row["verdict"]
        coloured = Cell(verdict, verdict=verdict) if verdict in ("hurt", "helped") else verdict
        rows.append([*_both_ways(name, row), coloured])
    return Table([*TRAINED_BOTH_WAYS, "other domains"], rows)


def _votes_table(table: Mapping[str, Any]) -> Table:
    rows = []
    for name, row in by_domain(table).items():
        added = [f"{row['votes'][key]:+.4f}" for key in ("alone", "all_domains")]
        rows.append([*_both_ways(name, row), *added])
    return Table([*TRAINED_BOTH_WAYS, "votes add, alone", "votes add, all domains"], rows)


def _against_single_table(comparison: Mapping[str, Any], metric: str) -> Table:
    def value(model: Mapping[str, Any], domain: str) -> float:
        return model["test"]["domains"][domain][metric]["mean"]

    models, domains = comparison["models"], comparison["domains"]
    alone = {domain: value(models[SINGLE_DOMAIN], domain) for domain in domains}
    rows = []
    for name, model in models.items():
        if model.get("several_domains"):
            changes = [
                f"{value(model, domain) / alone[domain] - 1:+.1%}" if alone[domain] else "-"
                for domain in domains
            ]
            rows.append([name, *changes])
    return Table(["", *domains], rows)


def _tuning_text(comparison: Mapping[str, Any]) -> str:
    seconds = sum(tuning["seconds"] for tuning in comparison["tuning"].values())
    return (
        "Validation NDCG@10 of every trial, each with the first seed of its model; the chosen one "
        "in bold, of a single-domain model for each domain (-: nothing to learn from, popularity "
        "stands in). Test ranks of the others are not looked at. All trials took "
        f"{seconds:,.0f} s; the table of costs counts the chosen ones alone."
    )


def _tuning_table(tuning: Mapping[str, Any]) -> Table:
    """A row a point of the grid, a column a setting and one a domain."""
    points: dict[str, Any] = {}
    for trial in tuning["trials"]:
        row = points.setdefault(json.dumps(trial["settings"]), (trial["settings"], {}))[1]
        text = "-" if trial["stand_in"] else f"{trial['validation']:.4f}"
        chosen = trial["chosen"] and not trial["stand_in"]
        column = trial["domain"]
        if column is None:
            column = "validation NDCG@10"
        elif not isinstance(column, str):
            column = " + ".join(column)
        row[column] = Cell(text, bold=chosen)
    rows = [[*map(str, settings.values()), *cells.values()] for settings, cells in points.values()]
    settings, cells = next(iter(points.values()))
    return Table([*settings, *cells], rows)


def _pairs_table(model: Mapping[str, Any]) -> Table:
    """Mean, best and worst partner of each domain."""
    rows = []
    for domain, partners in model["pairs"].items():
        mean = model["test"]["domains"][domain][SELECTION_METRIC]["mean"]
        ends = [choose(partners, key=partners.__getitem__) for choose in (max, min)]
        texts = [f"{partners[name]:.4f} ({shown(name)})" for name in ends]
        rows.append([shown(domain), f"{mean:.4f}", *texts])
    return Table(["", "mean", "best pair", "worst pair"], rows)


def _ablation_table(comparison: Mapping[str, Any]) -> Table:
    full = {"full": FULL} if FULL in comparison["models"] else {}
    rows = []
    for label, name in (full | comparison["ablation"]).items():
        model = comparison["models"][name]
        cells = [model["test"]["overall"], *model["test"]["domains"].values()]
        rows.append([label, *(_spread(cell[SELECTION_METRIC]) for cell in cells)])
    return Table(["", OVERALL, *map(shown, comparison["domains"])], rows)


def _breakdown_table(comparison: Mapping[str, Any]) -> Table:
    models = comparison["models"]
    rows = []
    for name, groups in next(iter(models.values()))["breakdown"].items():
        for group, first in groups.items():
            cells = [model["breakdown"][name][group] for model in models.values()]
            texts = [f"{cell['ndcg@10']:.4f} ({cell['share_of_hits']:.0%})" for cell in cells]
            rows.append([f"{GROUPS.get(name, name)}: {group}", f"{first['users']:,}", *texts])
    return Table(["targets", "users", *models], rows)


def _cost_table(comparison: Mapping[str, Any]) -> Table:
    columns = {
        "s / epoch": ("seconds_per_epoch", 1),
        "epochs (median)": ("epochs", 0),
        "s in all": ("seconds", 0),
        "peak MiB": ("peak_memory_mb", 0),
        "parameters": ("parameters", 0),
    }
    rows = []
    for name, model in comparison["models"].items():
        epochs = model["cost"]["epochs"]
        cost = model["cost"] | {"epochs": np.median(epochs) if epochs else None}
        values = [(cost[key], digits) for key, digits in columns.values()]
        rows.append([name, *("-" if v is None else f"{v:,.{digits}f}" for v, digits in values)])
    return Table(["", *columns], rows)
