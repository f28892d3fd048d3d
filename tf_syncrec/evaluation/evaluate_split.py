"""A trained network on a split, beside popularity, by any of the protocols."""

from pathlib import Path
from typing import Any

from data_prep import PreparedDataset
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation import ALL_DOMAINS, NEXT_BASKET, TIMED
from tf_syncrec.evaluation.all_domains import all_domains_protocol, rank_all_domains
from tf_syncrec.evaluation.full_ranking import (
    ABOUT_TIMES,
    ModelScorer,
    PopularityScorer,
    protocol,
    rank_split,
)
from tf_syncrec.evaluation.next_basket import next_basket_protocol, rank_baskets
from tf_syncrec.evaluation.sampled import NEGATIVES
from tf_syncrec.evaluation.sampled.expected import count_others, expected_metrics
from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives
from tf_syncrec.evaluation.sampled.sampled_ranking import rank_sampled, sampled_protocol
from tf_syncrec.models.base import MultiDomainModel


def evaluate_split(
    model: MultiDomainModel,
    config: Config,
    prepared: PreparedDataset,
    split: str,
    name: str = "full",
    negatives_file: Path | None = None,
    count: int = NEGATIVES,
) -> dict[str, Any]:
    """Ranks every target of a split.

    Args:
        model: trained.
        config: of the run.
        prepared: what it was trained on.
        split: `"validation"` or `"test"`.
        name: of the protocol: `"full"`, `evaluation.ALL_DOMAINS`, `evaluation.NEXT_BASKET`, one of
            `evaluation.TIMED` or of `evaluation.sampled.SAMPLED`.
        negatives_file: of a sampled protocol, where its negatives are, or are kept from now on.
        count: how many they are.

    Returns:
        `{"protocol": {...}, split: M, "baselines": {"popularity": {split: M}}}`, as in
        `metrics.json`; among all domains, also the baseline `uncalibrated`; of negatives drawn from
        the domain, also `"expected": {split: M}`, the mean over all draws. Of next baskets M is
        that of `next_basket.BasketRanks`, and stands below each of `evaluation.TIMED`, too.

    Raises:
        InputError: the negatives are of something else.
    """
    if name == NEXT_BASKET:
        return _evaluate_baskets(model, config, prepared, split)
    catalogue = prepared.catalogue
    batches = evaluation_batches(prepared, split, config.evaluate.batch_size)
    told = name if name in TIMED else None
    scorers = ModelScorer(model, told=told), PopularityScorer(catalogue.counts)
    others, expected = {}, None
    if name == ALL_DOMAINS:
        about = all_domains_protocol(prepared)
        of_model, others["uncalibrated"] = rank_all_domains(
            scorers[0], batches, catalogue, model.mixture
        )
        ranks = [of_model, rank_all_domains(scorers[1], batches, catalogue)[0]]
    elif negatives_file is None:
        about = protocol(prepared) | ({"name": name, "times": ABOUT_TIMES[name]} if told else {})
        ranks = [rank_split(scorer, batches, catalogue, with_rows=False) for scorer in scorers]
    else:
        negatives = stored_negatives(negatives_file, prepared, split, name, count)
        about = sampled_protocol(name, prepared, count) | {
            "negatives": negatives_file.name,
            "users_with_fewer_negatives": negatives.users_with_fewer,
        }
        ranks = [
            rank_sampled(scorer, batches, catalogue, negatives, with_rows=False)
            for scorer in scorers
        ]
        if name == "sampled_domain":
            full = rank_split(scorers[0], batches, catalogue, with_rows=False)
            expected = expected_metrics(
                full.ranks,
                count_others(batches, catalogue),
                count,
                full.domains,
                catalogue.domains,
            )
    cold, unknown = ranks[0].cold, ranks[0].unknown
    about |= {
        "window": config.model.window,
        **({"score": model.score} if hasattr(model, "score") else {}),
        "cold_target_share": {split: float(cold.mean()) if len(cold) else 0.0},
        "unknown_target_share": {split: float(unknown.mean()) if len(cold) else 0.0},
    }
    others["popularity"] = ranks[1]
    return {
        "protocol": about,
        split: ranks[0].metrics(catalogue.domains),
        **({"expected": {split: expected}} if expected else {}),
        "baselines": {
            baseline: {split: of.metrics(catalogue.domains)} for baseline, of in others.items()
        },
    }


def _evaluate_baskets(
    model: MultiDomainModel, config: Config, prepared: PreparedDataset, split: str
) -> dict[str, Any]:
    """`evaluate_split` of next baskets."""
    catalogue = prepared.catalogue
    batches = evaluation_batches(prepared, split, config.evaluate.batch_size)

    def metrics(scorer):
        return {split: rank_baskets(scorer, batches, catalogue).metrics(catalogue.domains)}

    return {
        "protocol": next_basket_protocol(prepared),
        **metrics(ModelScorer(model)),
        **{told: metrics(ModelScorer(model, told=told)) for told in TIMED},
        "baselines": {"popularity": metrics(PopularityScorer(catalogue.counts))},
    }
