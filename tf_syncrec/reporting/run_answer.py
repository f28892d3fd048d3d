"""The first screen of a report: how good, compared with what, where, who is hurt, what next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.html import number, signed
from tf_syncrec.reporting.next_step import NextStep, below_popularity, next_step, with_verdict

NAMED = 4
"""Domains that a sentence names; of more it says how many."""


class Answer(NamedTuple):
    """What somebody knows who reads nothing else.

    Attributes:
        share: how often the next item is among the ten, with its unit.
        than_popular: how NDCG@10 compares, to go on the sentence; empty where nothing was measured.
        facts: what is asked, and the answer.
        verdict: `hurt` where a domain is, for its colour.
        next: what to do.
    """

    share: str
    than_popular: str
    facts: Mapping[str, str]
    verdict: str
    next: NextStep


def answer_of(
    metrics: Mapping[str, Any],
    overall: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    run_dir: Path,
) -> Answer:
    """All of the first screen.

    Args:
        metrics: what `metrics.json` holds.
        overall: the row of all users, as `run_report` makes it.
        rows: the rows of the domains.
        run_dir: for the command of the next step.
    """
    facts = {}
    if overall["popularity"] is not None:
        facts["Compared with popularity"] = _over(metrics, overall["popularity"], overall)
    if overall["alone"] is not None:
        facts["Compared with one model per domain"] = (
            f"{signed(overall[SELECTION_METRIC] - overall['alone'])} NDCG@10: trained on each "
            f"domain alone it is {number(overall['alone'])}."
        )
    if spread := _spread(metrics, rows):
        facts["In which domains"] = spread
    if metrics.get("views"):
        facts["Is a domain hurt by the others?"] = _hurt(metrics)
    ratio = overall["ratio"]
    than = ""
    if ratio is not None:
        than = f"{number(ratio, 1)} times the popularity baseline"
        if ratio < 1:
            than = f"only {number(ratio, 2)} times the popularity baseline"
    return Answer(
        f"{100 * overall['hr@10']:.0f} %" if overall["users"] else "–",
        than,
        facts,
        "hurt" if with_verdict(metrics, "hurt") else "",
        next_step(metrics, run_dir),
    )


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, or how many there are."""
    if len(names) > NAMED:
        return f"{len(names)} domains"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _over(metrics: Mapping[str, Any], popularity: float, overall: Mapping[str, Any]) -> str:
    reached = f"NDCG@10 {number(overall[SELECTION_METRIC])} against {number(popularity)}"
    if not (found := metrics.get("over_popularity")):
        return f"{reached}."
    row = found["overall"]
    return f"{reached}: {signed(row['mean'])}, 95 % interval {interval(row)}."


def interval(row: Mapping[str, Any]) -> str:
    """Both ends of an interval."""
    return f"{signed(row['low'])} to {signed(row['high'])}"


def _spread(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Where it is best and where it is lowest."""
    ranked = sorted(
        (row for row in rows if row[SELECTION_METRIC] is not None),
        key=lambda row: -row[SELECTION_METRIC],
    )
    if len(ranked) < 2:
        return ""
    best, lowest = ranked[0], ranked[-1]
    text = (
        f"Best in {best['name']} ({number(best[SELECTION_METRIC])}), lowest in {lowest['name']} "
        f"({number(lowest[SELECTION_METRIC])})."
    )
    if below := below_popularity(metrics):
        text += f" No better than popularity in {listed(below)}."
    return text


def _hurt(metrics: Mapping[str, Any]) -> str:
    rows, weights = metrics["views"]["domains"], metrics.get("view_weights", {})
    hurt, helped = (with_verdict(metrics, verdict) for verdict in ("hurt", "helped"))
    if not hurt:
        text = "None for certain."
    elif len(hurt) <= NAMED:
        said = [
            f"{name} by {signed(rows[name]['cross_less_single']['mean'])} (95 % interval "
            f"{interval(rows[name]['cross_less_single'])})"
            for name in hurt
        ]
        text = (
            f"Yes: {listed(hurt)}. Scored by the history of all domains instead of its own, "
            f"NDCG@10 changes in {'; '.join(said)}."
        )
        if all(weights.get(name, {}).get("single", 0.0) > 1 for name in hurt):
            text += " There the score weighs the domain's own history more."
    else:
        text = f"Yes: {len(hurt)} of {len(rows)}."
    return text + (f" Helped: {listed(helped)}." if helped else "")
