"""Better, the same, worse, or too few to tell: answers of a candidate beside those of today's run.

A domain is **worse** where both hold: the loss is certain (two-sided paired bootstrap over users,
p < 0.05 by Holm's correction over the domains), and it is more than `--worse`. Without the first,
chance would hold back every third night of ten domains; without the second, a domain of a million
users a loss that nobody can feel. What is not certain is **the same** only where the interval
excludes a loss of `--undetected`, and there are `--least_targets`; otherwise nothing was shown, and
that is said: **too few to tell**.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_syncrec.evaluation.significance import (
    SIGNIFICANCE,
    compare_to_reference,
    paired_bootstrap,
)
from tf_syncrec.gate.checks import Check
from tf_syncrec.gate.later_rows import Questions
from tf_syncrec.gate.limits import ModelLimits
from tf_syncrec.gate.scoring import Scored
from tf_syncrec.metrics.gains import user_gains

BETTER, SAME, WORSE, UNCLEAR = "better", "the same", "worse", "too few to tell"
SIDES = ("current", "candidate")


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a candidate is held back.

    Attributes:
        kind: `data`, `worse`, `unclear`, `unknown`, `coverage` or `slower`.
        domain: where; "" is everywhere.
        text: one line.
    """

    kind: str
    domain: str
    text: str


def quality(
    questions: Questions, current: Scored, candidate: Scored, k: int, limits: ModelLimits
) -> dict[str, Any]:
    """Both runs beside each other, overall and in every domain.

    Overall, each user counts once, by the mean over the domains in which he has a target: users
    are what the bootstrap draws.

    Args:
        questions: what was asked.
        current: what today's run answered.
        candidate: what the other one did.
        k: how many answers there were.
        limits: of verdicts.

    Returns:
        `{"overall": row, "domains": {name: row}}`, `row = {"targets", "ndcg": {side: value}, "hr":
        {side: value}, "difference": D, "relative": [mean, low, high] or None, "verdict"}`; D as
        `significance.compare_to_reference` has it, of NDCG@k, candidate less current; `relative`
        by the current value, None where that is 0. Domains also have `unknown`, `coverage` and
        `recommended` (how many different items) by side, and `rows`, the later rows that `unknown`
        is of.
    """
    sides = dict(zip(SIDES, (current, candidate), strict=True))
    ndcg = {side: user_gains(scored.ranks, f"ndcg@{k}") for side, scored in sides.items()}
    hits = {side: user_gains(scored.ranks, f"hr@{k}") for side, scored in sides.items()}
    where, names = questions.target_domains, questions.domains
    of_domains = compare_to_reference(ndcg, "current", where, names)["candidate"]["domains"]
    rows = {}
    later = np.bincount(questions.later_domains, questions.later_rows, len(names))
    for index, name in enumerate(names):
        mine = where == index
        means = [{s: _mean(g[mine]) for s, g in gains.items()} for gains in (ndcg, hits)]
        rows[name] = _row(of_domains[name], means, of_domains[name]["p_holm"], limits) | {
            "rows": int(later[index]),
            "unknown": {side: float(scored.unknown[index]) for side, scored in sides.items()},
            "coverage": {side: float(scored.coverage[index]) for side, scored in sides.items()},
            "recommended": {side: int(scored.recommended[index]) for side, scored in sides.items()},
        }
    of_users = [
        {side: _by_user(questions, g) for side, g in gains.items()} for gains in (ndcg, hits)
    ]
    found = paired_bootstrap(of_users[0]["candidate"], of_users[0]["current"])
    means = [{side: _mean(g) for side, g in gains.items()} for gains in of_users]
    return {
        "overall": _row(dataclasses.asdict(found), means, found.p_value, limits),
        "domains": rows,
    }


def _mean(gains: np.ndarray) -> float:
    return float(gains.mean()) if gains.size else 0.0


def _by_user(questions: Questions, gains: np.ndarray) -> np.ndarray:
    """`[users]` means over the targets of each."""
    users = len(questions.users)
    return np.bincount(questions.askers, gains, users) / np.bincount(questions.askers, None, users)


def _row(
    difference: dict[str, Any], means: Sequence[dict[str, float]], p_value: float, limits
) -> dict[str, Any]:
    ndcg, hr = means
    base = ndcg["current"]
    ends = [difference[end] for end in ("mean", "low", "high")]
    return {
        "targets": difference["users"],
        "ndcg": ndcg,
        "hr": hr,
        "difference": difference,
        # Of the value as it is; nobody loses more than all.
        "relative": [max(value / base, -1.0) for value in ends] if base else None,
        "verdict": verdict(difference, base, p_value, limits),
    }


def verdict(difference: Mapping[str, Any], base: float, p_value: float, limits: ModelLimits) -> str:
    """One word for a difference, see the top of this module.

    Args:
        difference: of `significance.Difference`, candidate less current.
        base: the current value.
        p_value: of the difference, corrected.
        limits: of verdicts.
    """
    mean, certain = difference["mean"], p_value < SIGNIFICANCE
    if certain and mean > 0:
        return BETTER
    if certain and -mean > limits.worse * base:
        return WORSE
    excluded = base > 0 and difference["low"] > -limits.undetected * base
    return SAME if excluded and difference["users"] >= limits.least_targets else UNCLEAR


def reasons_of_data(checks: Iterable[Check], shown) -> list[Reason]:
    """What moved.

    Args:
        checks: of `data_cards.compare_data`.
        shown: `tables.values_of`, both values of a check as text.
    """
    found = []
    for check in checks:
        if check.moved:
            old, new = shown(check)
            place = f" of {check.domain}" if check.domain else ""
            text = f"data: {check.what}{place}: {old} → {new} (limit: {check.limit})"
            found.append(Reason("data", check.domain, text))
    return found


def reasons_of_answers(
    table: Mapping[str, Any],
    speed: Mapping[str, float] | None,
    limits: ModelLimits,
    strict: bool = False,
) -> list[Reason]:
    """What is wrong with a candidate's answers.

    Args:
        table: of `quality`.
        speed: median seconds of a request by side, None where that was not measured.
        limits: of verdicts.
        strict: whether too few targets to tell are a reason.
    """
    found = []
    for name, row in [("", table["overall"]), *table["domains"].items()]:
        place = f" in {name}" if name else " overall"
        if row["verdict"] == WORSE:
            mean, low, high = row["relative"]
            text = f"worse{place}: NDCG {mean:+.1%} (95 %: {low:+.1%} to {high:+.1%})"
            found.append(Reason("worse", name, text))
        if row["verdict"] == UNCLEAR and strict:
            found.append(Reason("unclear", name, f"too few targets to tell{place} (--strict)"))
    for name, row in table["domains"].items():
        old, new = (row["unknown"][side] for side in SIDES)
        much, more = new > limits.unknown, new > old + limits.more_unknown
        if row["rows"] >= limits.least_targets and (much or more):
            limit = (
                f"limit: {100 * limits.unknown:g} %"
                if much
                else f"limit: +{100 * limits.more_unknown:g} points"
            )
            text = f"unknown items in {name}: {old:.1%} → {new:.1%} of later rows ({limit})"
            found.append(Reason("unknown", name, text))
        # Of a catalogue that grows the same items are a smaller share, and of one that shrinks the
        # same share is fewer items: neither says that the answers are narrower.
        shares, counts = ([row[what][s] for s in SIDES] for what in ("coverage", "recommended"))
        if all(new < old * (1 - limits.narrower) for old, new in (shares, counts)):
            text = (
                f"coverage of {name} has fallen: {shares[0]:.1%} → {shares[1]:.1%} of its items "
                f"are recommended, {counts[0]:,} → {counts[1]:,} different ones "
                f"(limit: −{100 * limits.narrower:g} % of both)"
            )
            found.append(Reason("coverage", name, text))
    if speed and speed["candidate"] > limits.slower * speed["current"]:
        old, new = (1e3 * speed[side] for side in SIDES)
        text = f"slower: {old:.2f} → {new:.2f} ms a request (limit: {limits.slower:g} times)"
        found.append(Reason("slower", "", text))
    return found
