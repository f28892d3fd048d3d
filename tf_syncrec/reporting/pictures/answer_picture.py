"""The picture of the first screen: every domain, how good, beside popularity, hurt or not."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tf_syncrec.reporting.pictures.charts import WIDTH, Chart, short
from tf_syncrec.reporting.pictures.svg import INK, MUTED, VERDICT_COLOURS, colour_of, svg_of

ROWS = 8
"""Domains that a first screen has room for."""


def answer_picture(rows: Sequence[Mapping[str, Any]], verdicts: Mapping[str, str]) -> Chart | None:
    """A line a domain, from what recommending popular items reaches to what this run reaches.

    Args:
        rows: of the domains in their order, with `name`, `ndcg@10` and `popularity`, None where
            unknown.
        verdicts: `hurt`, `helped` or another word for each domain, where the views were compared.

    Returns:
        The picture; where there are more than `ROWS` domains, those that are hurt first, then those
        with most users. None without any number.
    """
    numbered = [(n, row) for n, row in enumerate(rows) if row["ndcg@10"] is not None]
    if not numbered:
        return None
    if len(numbered) > ROWS:

        def weight(each):
            return verdicts.get(each[1]["name"]) != "hurt", -each[1]["users"]

        numbered = sorted(sorted(numbered, key=weight)[:ROWS])
    figure = Figure(figsize=(WIDTH, 0.62 + 0.3 * len(numbered)), layout="constrained")
    axes = figure.add_subplot()
    for y, (n, row) in enumerate(numbered):
        colour, value, base = colour_of(n)[0], row["ndcg@10"], row["popularity"]
        if base is not None:
            axes.plot([base, value], [y, y], color=colour, lw=2)
            axes.plot([base], [y], "o", color=MUTED, ms=5)
        axes.plot([value], [y], "o", color=colour, ms=9)
        verdict = verdicts.get(row["name"], "")
        word = verdict if verdict in ("hurt", "helped") else ""
        axes.annotate(
            f"{value:.3f} {word}".strip(),
            (max(value, base or 0.0), y),
            (9, 0),
            textcoords="offset points",
            va="center",
            color=VERDICT_COLOURS[verdict] if word else INK,
            weight="bold" if word == "hurt" else "normal",
        )
    most = max(max(row["ndcg@10"], row["popularity"] or 0.0) for _, row in numbered)
    axes.set_xlim(0, 1.35 * most or 1.0)
    axes.set_yticks(range(len(numbered)), [short(row["name"]) for _, row in numbered])
    axes.set_ylim(len(numbered) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel("NDCG@10")
    title = "How good in each domain"
    note = "Large dot: this run. Small grey dot: popularity baseline."
    left_out = len([row for row in rows if row["ndcg@10"] is not None]) - len(numbered)
    if left_out:
        note += f" {left_out} further domains below."
    return Chart(title, note, svg_of(figure, title), [])
