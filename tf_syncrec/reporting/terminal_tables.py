"""Metrics as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from tf_syncrec.evaluation import by_domain

OTHERS = ("HR@5", "HR@10", "NDCG@5", "MRR")
"""Columns that a narrow terminal has no room for."""


def metrics_table(
    metrics: dict[str, Any],
    popularity: dict[str, Any] | None = None,
    views: dict[str, Any] | None = None,
    width: int | None = None,
) -> str:
    """One row a domain and one overall.

    Args:
        metrics: `{"overall": R, "domains": {domain: R}}`.
        popularity: the same of the popularity baseline, shown beside it.
        views: of `evaluation.verdicts.compare_views`: what the history of all domains adds to that
            of the domain alone, on validation.
        width: characters that a line may have; where that is not enough, the metrics but NDCG@10
            are left out.
    """
    headers = ["domain", "users", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"]
    if popularity:
        headers += ["popularity NDCG@10", "ratio"]
    if views:
        headers += ["other domains"]
    rows = []
    bases, seen = (by_domain(table) if table else {} for table in (popularity, views))
    for name, values in by_domain(metrics).items():
        row: list[Any] = [name, values["users"]]
        row += [f"{values[key]:.4f}" for key in ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")]
        if popularity:
            base = bases[name]
            ratio = values["ndcg@10"] / base["ndcg@10"] if base["ndcg@10"] else None
            row += [f"{base['ndcg@10']:.4f}", f"{ratio:.1f} x" if ratio else "-"]
        if views:
            found = seen[name]
            row.append(f"{found.get('verdict', '')} {found['cross_less_single']['mean']:+.4f}")
        rows.append(row)

    return _drawn(headers, rows, width, OTHERS)


def basket_table(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a domain and one overall: users, items of a basket, recall and NDCG.

    Args:
        tables: `BasketRanks.metrics` by what a model is told, `""` for the order alone, and by
            baseline: NDCG@10 of these stands beside it.
    """
    first, *others = (by_domain(table) for table in tables.values())
    headers = ["domain", "users", "items", "recall@10", "NDCG@10"]
    rows = [
        [name, row["users"], f"{row['size']:.1f}", f"{row['recall@10']:.4f}"]
        + [f"{table[name]['ndcg@10']:.4f}" for table in (first, *others)]
        for name, row in first.items()
    ]
    names = [name.replace("_", " ") for name in tables if name]
    return _drawn([*headers, *names], rows, None, ())


def comparison_table(comparison: Mapping[str, Any], width: int | None = None) -> str:
    """One row a model: test NDCG@10 and HR@10 overall, NDCG@10 of each domain.

    Args:
        comparison: what `comparison.json` holds.
        width: characters that a line may have; where that is not enough, domains are left out.
    """
    domains = comparison["domains"]
    rows = []
    for name, model in comparison["models"].items():
        test = model["test"]
        of_domains = [f"{test['domains'][d]['ndcg@10']['mean']:.4f}" for d in domains]
        overall = [mean_and_spread(test["overall"][metric]) for metric in ("ndcg@10", "hr@10")]
        rows.append([name, *overall, *of_domains])
    return _drawn(["model", "NDCG@10", "HR@10", *domains], rows, width, domains)


def mean_and_spread(value: Mapping[str, Any], sign: str = "") -> str:
    """`{"mean", "std"}` as text; of a single seed there is no spread; `+` for differences."""
    spread = f" ± {value['std']:.4f}" if value["std"] is not None else ""
    return f"{value['mean']:{sign}.4f}{spread}"


def _drawn(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None, others: Sequence[str]
) -> str:
    """A table; the columns `others` are left out where a line would be longer than `width`."""

    def drawn(columns):
        aligned = ["left"] + ["right"] * (len(columns) - 1)
        chosen = [[row[column] for column in columns] for row in rows]
        names = [headers[column] for column in columns]
        return tabulate(chosen, names, disable_numparse=True, colalign=aligned)

    table = drawn(range(len(headers)))
    if width is not None and len(table.split("\n", 1)[0]) > width:
        return drawn([n for n in range(len(headers)) if headers[n] not in others])
    return table
