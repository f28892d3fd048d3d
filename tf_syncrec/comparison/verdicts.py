"""Which domains are hurt? The paper's Table 4, with a verdict for each domain."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_syncrec.comparison.names import MERGED, ModelName, Place
from tf_syncrec.evaluation.significance import SIGNIFICANCE, compare_to_reference
from tf_syncrec.evaluation.verdicts import UNCLEAR


def negative_transfer(
    models: Mapping[str, ModelName],
    gains: Mapping[str, np.ndarray],
    domains: np.ndarray,
    names: Sequence[str],
    stand_ins: Collection[tuple[str, Place]],
) -> dict[str, Any]:
    """What training on all domains changes in each, for every network that was trained both ways.

    A domain is `hurt` or `helped` where the difference of the means over seeds is significant over
    users after Holm's correction, and every seed of one training is above every seed of the other.
    Seeds are not paired: what two trainings have in common is no more for equal numbers, and the
    two may have different numbers of seeds.

    Args:
        models: by name.
        gains: NDCG@10 `[seeds, users]` of each model, the same users in the same order. To judge
            learning they are those of the network alone: votes count one domain where it was
            trained on one, and all domains where it was trained on all, whatever it learned.
        domains: `[users]` index of the target's domain.
        names: the domains in the order of their indices.
        stand_ins: `(model, domain)` where popularity stood in, as there was nothing to learn from.

    Returns:
        `{merged model: {"overall": row, "domains": {name: row}}}`, plain JSON values.
    """
    found = {}
    for single, merged in _trained_both_ways(models):
        table = _differences(gains[single], gains[merged], domains, names)
        table["overall"]["verdict"] = _verdict(table["overall"])
        for name, row in table["domains"].items():
            stand_in = (single, name) in stand_ins
            row["verdict"] = "not trained alone" if stand_in else _verdict(row)
        found[merged] = table
    return found


def with_votes(
    own: Mapping[str, Any],
    models: Mapping[str, ModelName],
    gains: Mapping[str, np.ndarray],
    voting: Collection[str],
    domains: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    """The same by the scores that would be served, of networks with votes or the like.

    Nothing is said of hurt and helped: a difference here may be of the votes alone.

    Args:
        own: what `negative_transfer` says of the networks alone.
        models: as there.
        gains: as there, of the served scores.
        voting: models with more fitted on top.
        domains: as there.
        names: as there.

    Returns:
        As there, rows without a verdict; `"votes"` is what votes add to the NDCG@10 of either
        training, `{"alone": x, "all_domains": x}`.
    """
    found = {}
    for single, merged in _trained_both_ways(models):
        if not {single, merged} & set(voting):
            continue
        table = _differences(gains[single], gains[merged], domains, names)
        pairs = [(table["overall"], own[merged]["overall"])]
        pairs += [(row, own[merged]["domains"][name]) for name, row in table["domains"].items()]
        for row, without in pairs:
            row["votes"] = {key: row[key] - without[key] for key in ("alone", "all_domains")}
        found[merged] = table
    return found


def _trained_both_ways(models: Mapping[str, ModelName]) -> Iterator[tuple[str, str]]:
    """Names of networks that were trained on each domain alone, and of the same on all of them."""
    merged = {model.base: text for text, model in models.items() if model.scope == MERGED}
    for text, model in models.items():
        if model.single and model.base in merged:
            yield text, merged[model.base]


def _differences(alone: np.ndarray, together: np.ndarray, domains, names) -> dict[str, Any]:
    """Both trainings' gains `[seeds, users]` as a table, `{"overall", "domains": {name: row}}`."""
    both = {"alone": alone.mean(axis=0), "all": together.mean(axis=0)}
    differences = compare_to_reference(both, "alone", domains, names)["all"]
    return {
        "overall": _row(alone, together, differences["overall"]),
        "domains": {
            name: _row(
                alone[:, domains == d], together[:, domains == d], differences["domains"][name]
            )
            for d, name in enumerate(names)
        },
    }


def _row(alone: np.ndarray, together: np.ndarray, difference: dict[str, Any]) -> dict[str, Any]:
    """Gains `[seeds, users]` of one domain, alone and together, as a row of the table."""
    users = alone.shape[1]
    seeds = [values.mean(axis=1) if users else np.zeros(0) for values in (alone, together)]
    before, after = (float(values.mean()) if users else 0.0 for values in seeds)
    return {
        "users": users,
        "alone": before,
        "all_domains": after,
        "change": (after - before) / before if before else None,
        "by_seed": {"alone": seeds[0].tolist(), "all_domains": seeds[1].tolist()},
        "difference": difference,
    }


def _verdict(row: Mapping[str, Any]) -> str:
    """What may be said of a row."""
    alone, together = row["by_seed"].values()
    difference = row["difference"]
    if difference.get("p_holm", difference["p_value"]) < SIGNIFICANCE:
        if min(together) > max(alone):
            return "helped"
        if max(together) < min(alone):
            return "hurt"
    return UNCLEAR
