"""Which domains are hurt? The paper's Table 4, with a verdict for each domain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_syncrec.comparison.names import ModelName
from tf_syncrec.evaluation.significance import SIGNIFICANCE, compare_to_reference


def negative_transfer(
    models: Mapping[str, ModelName],
    gains: Mapping[str, np.ndarray],
    domains: np.ndarray,
    names: Sequence[str],
    stand_ins: set[tuple[str, str | None]],
) -> dict[str, Any]:
    """What training on all domains changes in each, for every network that was trained both ways.

    A domain is `hurt` or `helped` where the difference of the means over seeds is significant over
    users after Holm's correction, and every seed of one training is above every seed of the other.
    Seeds are not paired: what two trainings have in common is no more for equal numbers, and the
    two may have different numbers of seeds.

    Args:
        models: by name.
        gains: NDCG@10 `[seeds, users]` of each model, the same users in the same order.
        domains: `[users]` index of the target's domain.
        names: the domains in the order of their indices.
        stand_ins: `(model, domain)` where popularity stood in, as there was nothing to learn from.

    Returns:
        `{merged model: {"overall": row, "domains": {name: row}}}`, plain JSON values.
    """
    merged = {model.base: text for text, model in models.items() if not model.single}
    found = {}
    for single, model in models.items():
        if not model.single or model.base not in merged:
            continue
        alone, together = gains[single], gains[merged[model.base]]
        both = {"alone": alone.mean(axis=0), "all": together.mean(axis=0)}
        differences = compare_to_reference(both, "alone", domains, names)["all"]
        found[merged[model.base]] = {
            "overall": _row(alone, together, differences["overall"]),
            "domains": {
                name: _row(
                    alone[:, domains == d],
                    together[:, domains == d],
                    differences["domains"][name],
                    stand_in=(single, name) in stand_ins,
                )
                for d, name in enumerate(names)
            },
        }
    return found


def _row(
    alone: np.ndarray, together: np.ndarray, difference: dict[str, Any], stand_in: bool = False
) -> dict[str, Any]:
    """Gains `[seeds, users]` of one domain, alone and together, as a row of the table."""
    users = alone.shape[1]
    seeds = [values.mean(axis=1) if users else np.zeros(0) for values in (alone, together)]
    before, after = (float(values.mean()) if users else 0.0 for values in seeds)
    verdict = "no clear difference"
    if stand_in:
        verdict = "not trained alone"
    elif difference.get("p_holm", difference["p_value"]) < SIGNIFICANCE:
        if seeds[1].min() > seeds[0].max():
            verdict = "helped"
        elif seeds[1].max() < seeds[0].min():
            verdict = "hurt"
    return {
        "users": users,
        "alone": before,
        "all_domains": after,
        "change": (after - before) / before if before else None,
        "by_seed": {"alone": seeds[0].tolist(), "all_domains": seeds[1].tolist()},
        "difference": difference,
        "verdict": verdict,
    }
