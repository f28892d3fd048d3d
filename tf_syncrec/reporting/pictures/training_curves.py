"""What a training was like, from its `history.json`: curves over epochs, gates at the end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.pictures.charts import Chart, Points, lines

LOSSES = {"total": "loss", "single": "loss_single", "cross": "loss_cross", "SC-MIM": "loss_mim"}


def curves(
    history: Sequence[Mapping], domains: Sequence[str], best: int | None, suffix: str = ""
) -> list[Chart]:
    """Pictures of a training over its epochs; one without any value in the history is left out.

    Args:
        history: as in `history.json`.
        domains: in the order of the legend.
        best: the epoch whose weights were kept, counted from 1.
        suffix: of the headings, which are distinct on a page.
    """
    losses = {label: _series(history, key) for label, key in LOSSES.items()}
    validation = {"validation": _series(history, "validation", SELECTION_METRIC)}

    def by_domain(quantity):
        return {d: _series(history, "domains", d, quantity) for d in domains}

    weights = by_domain("lambda")
    last = [points[-1][1] for points in weights.values() if points]
    even = sum(last) / max(len(last), 1)
    kept = f"The dashed line marks epoch {best}, whose weights were kept." if best else ""
    share = "Weight of a domain's cross-domain loss; the thin line is an even share."
    charts = [
        lines(f"λ per domain{suffix}", share, weights, level=even, of_domains=True),
        lines(
            f"Gap per domain{suffix}",
            "In the shaded part the other domains hurt.",
            by_domain("gap"),
            level=0.0,
            of_domains=True,
        ),
        lines(f"Training losses{suffix}", "Mean of each epoch.", losses),
        lines(f"Validation NDCG@10{suffix}", kept, validation, mark=best),
        lines(
            f"Single-domain loss per domain{suffix}",
            "Loss of a domain's items from its own history alone.",
            by_domain("loss_single"),
            of_domains=True,
        ),
        lines(
            f"Cross-domain loss per domain{suffix}",
            "The same items, from the history of all domains.",
            by_domain("loss_cross"),
            of_domains=True,
        ),
    ]
    return [chart for chart in charts if chart is not None]


def gates_at(history: Sequence[Mapping], best: int | None) -> Mapping[str, Any]:
    """`gates` of the epoch that was kept, else of the last one; empty without any."""
    kept = history[best - 1] if best and best <= len(history) else (history or [{}])[-1]
    return kept.get("gates", {})


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
