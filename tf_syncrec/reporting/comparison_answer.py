"""The first screen of a comparison: which model, is it more than chance, which domains are hurt."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tf_syncrec.evaluation.significance import SIGNIFICANCE
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.reporting.html import signed
from tf_syncrec.reporting.run_answer import interval, listed
from tf_syncrec.reporting.terminal_tables import mean_and_spread


class Place(NamedTuple):
    """A row of the table that decides: a model, best first.

    Attributes:
        name: of the model.
        score: mean NDCG@10, with its spread over seeds.
        less_reference: its score less the reference's, with an interval; empty for the
            reference, and where the difference was not computed.
        sure: whether that is more than chance.
        wins: domains in which its mean is the highest.
        bar: part of the best one's score.
    """

    name: str
    score: str
    less_reference: str
    sure: bool
    wins: Sequence[str]
    bar: float


class Answer(NamedTuple):
    """What somebody knows who reads nothing else."""

    best: str
    sentence: str
    facts: Mapping[str, str]
    verdict: str
    places: Sequence[Place]


def answer_of(comparison: Mapping[str, Any]) -> Answer:
    """All of the first screen.

    Differences are always "less the reference", as in the tables: plus is better than it. That of
    the reference itself is the reason why a best model is called ahead or not.

    Args:
        comparison: what `comparison.json` holds.
    """
    models, reference = comparison["models"], comparison["reference"]
    overall = {name: model["test"]["overall"][SELECTION_METRIC] for name, model in models.items()}
    ranked = sorted(overall, key=lambda name: -overall[name]["mean"])
    best, most = ranked[0], overall[ranked[0]]["mean"]
    wins: dict[str, list[str]] = {name: [] for name in models}
    for domain in comparison["domains"]:
        of = {
            name: model["test"]["domains"][domain][SELECTION_METRIC]["mean"]
            for name, model in models.items()
        }
        if max(of.values()) > 0:
            wins[max(of, key=lambda name: of[name])].append(domain)
    places = []
    for name in ranked:
        row = _difference(models[name])
        places.append(
            Place(
                name,
                mean_and_spread(overall[name]),
                f"{signed(row['mean'])} [{signed(row['low'])}, {signed(row['high'])}]"
                if row
                else "",
                row is not None and row["p_value"] < SIGNIFICANCE,
                wins[name],
                overall[name]["mean"] / most if most else 0.0,
            )
        )
    hurt = _hurt(comparison)
    return Answer(
        best,
        _sentence(models, best, ranked, reference),
        {
            "Where is which model best?": _winners(places, comparison["domains"]),
            **({"Is a domain hurt by the others?": " ".join(hurt.values())} if hurt else {}),
        },
        "hurt"
        if any(_names(table, "hurt") for table in comparison["negative_transfer"].values())
        else "",
        places,
    )


def _difference(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = model["against_reference"].get(SELECTION_METRIC)
    return found["overall"] if found else None


def _sentence(models, best: str, ranked: Sequence[str], reference: str) -> str:
    """Whether the best one is ahead of the reference for certain; of the reference, of the next."""
    if len(ranked) == 1:
        return "It is the only model."
    if best != reference:
        row, other, sign = _difference(models[best]), reference, 1
    else:
        row, other, sign = _difference(models[ranked[1]]), ranked[1], -1
    if not row:
        return ""
    low, high = sorted((sign * row["low"], sign * row["high"]))
    ahead = {"low": low, "high": high}
    certain = "significant" if row["p_value"] < SIGNIFICANCE else "not significant"
    return (
        f"It is ahead of {other} by {signed(sign * row['mean'])} (95 % interval {interval(ahead)} "
        f"over users), {certain}."
    )


def _winners(places: Sequence[Place], domains: Sequence[str]) -> str:
    found = [place for place in places if place.wins]
    if len(found) == 1 and len(found[0].wins) == len(domains):
        return f"{found[0].name} in every domain."
    said = [f"{place.name} in {listed(place.wins)}" for place in found]
    return "; ".join(said) + "." if said else "No model is above 0."


def _names(table: Mapping[str, Any], verdict: str) -> list[str]:
    return [name for name, row in table["domains"].items() if row["verdict"] == verdict]


def _hurt(comparison: Mapping[str, Any]) -> dict[str, str]:
    """One sentence a model that was trained both ways."""
    found = {}
    for model, table in comparison["negative_transfer"].items():
        hurt, helped = (_names(table, verdict) for verdict in ("hurt", "helped"))
        text = f"{model}: {listed(hurt)} {'is' if len(hurt) == 1 else 'are'} hurt" if hurt else ""
        text = text or f"{model}: none for certain"
        found[model] = text + (f", {listed(helped)} helped." if helped else ".")
    return found
