"""Does the history of all domains help in a domain, or hurt? The two views, side by side."""

from typing import Any

import numpy as np

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.significance import SIGNIFICANCE, compare_to_reference
from tf_syncrec.evaluation.trials import rank_trials
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.syncrec import SyNCRec

VIEWS = ("single", "cross", "blend")
"""The view of the domain's own history, that of all domains, and the sum of both."""

UNCLEAR = "no clear difference"


def compare_views(
    model: MultiDomainModel, catalogue: Catalogue, validation: Batches
) -> dict[str, Any]:
    """Ranks targets of validation by either view of a network and by their sum, without votes.

    No second training is needed, and nothing is fitted, so that chance finds no difference but the
    chance of the users, which the intervals hold. What it cannot see: both views share item
    vectors, so that it does not say what a network of the domain alone would reach; that takes
    `compare --preset negative_transfer`.

    Args:
        model: with the weights of its best epoch.
        catalogue: items and domains.
        validation: from `data.batches.evaluation_batches`.

    Returns:
        `{"overall": row, "domains": {name: row}}` with `row = {"users", "single", "cross", "blend",
        "cross_less_single": D, "blend_less_single": D}`: NDCG@10 of `VIEWS`, and differences as
        `significance.compare_to_reference` gives them. A domain has a `verdict` besides: `hurt` or
        `helped` where the view of all domains ranks worse or better than that of the domain alone
        for certain (95 %, Holm's correction over the domains). {} for a network without two views.
    """
    if not isinstance(model, SyNCRec):
        return {}
    scorer = ModelScorer(model)
    scorer.refresh()

    def scores(asked, items, offset, size):
        single, cross = (scorer.products(vectors, offset, size) for vectors in asked)
        yield 0, single
        yield 1, cross
        yield 2, single + cross

    found = rank_trials(validation, catalogue, len(VIEWS), scorer.view_queries, scores)
    values = dict(zip(VIEWS, found.gains.T, strict=True))
    names = catalogue.domains
    against = compare_to_reference(values, "single", found.domains, names)

    def row(users, cross, blend):
        means = {
            view: float(gains[users].mean()) if gains[users].size else 0.0
            for view, gains in values.items()
        }
        return {
            "users": cross["users"],
            **means,
            "cross_less_single": cross,
            "blend_less_single": blend,
        }

    everybody = np.ones(len(found.domains), bool)
    of_cross, of_blend = against["cross"], against["blend"]
    domains = {
        name: row(found.domains == d, of_cross["domains"][name], of_blend["domains"][name])
        for d, name in enumerate(names)
    }
    for each in domains.values():
        each["verdict"] = verdict(each["cross_less_single"])
    overall = row(everybody, of_cross["overall"], of_blend["overall"])
    return {"overall": overall, "domains": domains}


def verdict(difference: dict[str, Any]) -> str:
    """`hurt`, `helped` or `UNCLEAR`: what a difference of `compare_to_reference` says for certain.

    Args:
        difference: of a domain.
    """
    if difference["p_holm"] >= SIGNIFICANCE:
        return UNCLEAR
    return "helped" if difference["mean"] > 0 else "hurt"
