"""Metrics as a table for the terminal, nested settings as a flat list."""

from collections.abc import Iterator, Mapping
from typing import Any

from tabulate import tabulate


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `("a.b", value)` for every leaf of nested dictionaries."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def metrics_table(
    metrics: dict[str, Any],
    popularity: dict[str, Any] | None = None,
    negative_transfer: dict[str, dict[str, float]] | None = None,
) -> str:
    """One row a domain and one overall.

    Args:
        metrics: `{"overall": R, "domains": {domain: R}}`.
        popularity: the same of the popularity baseline, shown beside it.
        negative_transfer: `{domain: {"lambda", "gap"}}`.
    """
    headers = ["domain", "users", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"]
    if popularity:
        headers += ["popularity NDCG@10", "ratio"]
    if negative_transfer:
        headers += ["lambda", "gap"]
    rows = []
    for name, values in [*metrics["domains"].items(), ("overall", metrics["overall"])]:
        row: list[Any] = [name, values["users"]]
        row += [f"{values[key]:.4f}" for key in ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")]
        if popularity:
            base = popularity["overall"] if name == "overall" else popularity["domains"][name]
            ratio = values["ndcg@10"] / base["ndcg@10"] if base["ndcg@10"] else None
            row += [f"{base['ndcg@10']:.4f}", f"{ratio:.1f} x" if ratio else "-"]
        if negative_transfer:
            transfer = negative_transfer.get(name)
            row += (
                [f"{transfer['lambda']:.3f}", f"{transfer['gap']:+.3f}"] if transfer else ["", ""]
            )
        rows.append(row)
    return tabulate(
        rows, headers, disable_numparse=True, colalign=["left"] + ["right"] * (len(headers) - 1)
    )
