"""What a trained run is worth: all that `metrics.json` says."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tf_syncrec
from data_prep import PreparedDataset
from tf_syncrec.config import Config
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.beyond_accuracy import measure_answers
from tf_syncrec.evaluation.breakdown import breakdown, group_targets
from tf_syncrec.evaluation.full_ranking import (
    ABOUT_TIMES,
    Batches,
    ModelScorer,
    PopularityScorer,
    Ranks,
    protocol,
    rank_split,
)
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.evaluation.significance import compare_to_reference
from tf_syncrec.evaluation.verdicts import compare_views
from tf_syncrec.metrics.gains import SELECTION_METRIC, shown_split, user_gains
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.view_weights import view_weights
from tf_syncrec.training.loop import Trained


def measure(
    model: MultiDomainModel,
    scorer: ModelScorer,
    config: Config,
    prepared: PreparedDataset,
    validation: Batches,
    test: Batches | None,
    trained: Trained,
    cross_fitted: float | None = None,
) -> tuple[dict[str, Any], Ranks | None]:
    """Ranks validation and test targets; the test is looked at here and nowhere before.

    Args:
        model: with the weights of its best epoch, its score fitted.
        scorer: of the model.
        config: of the run.
        prepared: the dataset.
        validation: from `data.batches.evaluation_batches`.
        test: likewise; None: it is left out.
        trained: what its training was.
        cross_fitted: of `scoring.fit_score`.

    Returns:
        What `metrics.json` holds, and the ranks of the test targets where there are any.
    """
    catalogue = prepared.catalogue
    names, (history, best) = catalogue.domains, trained
    timed = {}
    if model.timed():
        timed = {told: ModelScorer(model, told=told) for told in TIMED}
    ranks = {"validation": rank_split(scorer, validation, catalogue, False, timed)}
    if test is not None:
        ranks["test"] = rank_split(scorer, test, catalogue, beside=timed)
    shown = validation if test is None else test
    popularity = rank_split(PopularityScorer(catalogue.counts), shown, catalogue, with_rows=False)
    ours = ranks[shown_split(ranks)]
    gains = {
        name: user_gains(of.ranks, SELECTION_METRIC)
        for name, of in (("ours", ours), ("popularity", popularity))
    }
    over = compare_to_reference(gains, "popularity", ours.domains, names)["ours"]
    kinds = group_targets(prepared, shown_split(ranks), with_duplicates=False)
    # Of this one split: it costs as much as all domains together, and weights fit validation.
    anywhere, uncalibrated = rank_all_domains(scorer, shown, catalogue, model.mixture)
    domains = history[best]["domains"]
    about = {
        "window": config.model.window,
        "cold_target_share": {split: float(of.cold.mean()) for split, of in ranks.items()},
        "unknown_target_share": {split: float(of.unknown.mean()) for split, of in ranks.items()},
    }
    if test is None:
        about["selection"] = "validation ndcg@10; test was left out"
    if model.time_inputs:
        about["time_inputs"] = list(model.time_inputs)
    if hasattr(model, "score"):
        about["score"] = model.score
    found = {split: of.metrics(names) for split, of in ranks.items()}
    selection = {
        "epoch": history[best]["validation"][SELECTION_METRIC],
        "cross_fitted": cross_fitted,
        "as_served": found["validation"]["overall"][SELECTION_METRIC],
    }
    metrics = {
        "protocol": protocol(prepared) | about,
        "selection": {name: value for name, value in selection.items() if value is not None},
        **found,
        "all_domains": {
            shown_split(ranks): anywhere.metrics(names),
            "uncalibrated": {shown_split(ranks): uncalibrated.metrics(names)},
        },
        **{
            told: {"about": ABOUT_TIMES[told]}
            | {split: of.by(told).metrics(names) for split, of in ranks.items()}
            for told in timed
        },
        "negative_transfer": {
            name: {key: values[key] for key in ("lambda", "gap")}
            for name, values in domains.items()
            if "gap" in values
        },
        "views": compare_views(model, catalogue, validation),
        "view_weights": view_weights(model, names),
        "influence": influence(scorer, validation, catalogue),
        "baselines": {"popularity": {shown_split(ranks): popularity.metrics(names)}},
        "over_popularity": {"split": shown_split(ranks), **over},
        "breakdown": breakdown(ours.user_ids, ours.ranks[None], kinds),
        "beyond_accuracy": {"split": shown_split(ranks)}
        | measure_answers(scorer, shown, catalogue, model.mixture, model.candidate_vectors),
        "training": trained.cost(model)
        | {
            "versions": {
                module.__name__: module.__version__ for module in (tf_syncrec, tf, keras, np)
            },
        },
    }
    return metrics, ranks.get("test")
