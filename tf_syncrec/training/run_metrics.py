"""What a trained run is worth: all that `metrics.json` says."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tf_syncrec
from data_prep import PreparedDataset
from tf_syncrec.config import Config
from tf_syncrec.evaluation.full_ranking import (
    ModelScorer,
    PopularityScorer,
    Ranks,
    protocol,
    rank_split,
)
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.evaluation.verdicts import compare_views
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.view_weights import view_weights
from tf_syncrec.training.loop import Trained


def measure(
    model: MultiDomainModel,
    scorer: ModelScorer,
    config: Config,
    prepared: PreparedDataset,
    validation: tf.data.Dataset,
    test: tf.data.Dataset,
    trained: Trained,
    cross_fitted: float | None = None,
) -> tuple[dict[str, Any], Ranks]:
    """Ranks validation and test targets; the test is looked at here and nowhere before.

    Args:
        model: with the weights of its best epoch, its score fitted.
        scorer: of the model.
        config: of the run.
        prepared: the dataset.
        validation: from `data.batches.evaluation_batches`.
        test: likewise.
        trained: what its training was.
        cross_fitted: of `scoring.fit_score`.

    Returns:
        What `metrics.json` holds, and the ranks of the test targets.
    """
    catalogue = prepared.catalogue
    names, (history, best) = catalogue.domains, trained
    validation_ranks = rank_split(scorer, validation, catalogue, with_rows=False)
    test_ranks = rank_split(scorer, test, catalogue)
    popularity = rank_split(PopularityScorer(catalogue), test, catalogue, with_rows=False)
    domains = history[best]["domains"]
    about = {
        "window": config.model.window,
        "cold_target_share": {
            "validation": float(validation_ranks.cold.mean()),
            "test": float(test_ranks.cold.mean()),
        },
    }
    if hasattr(model, "score"):
        about["score"] = model.score
    of_validation = validation_ranks.metrics(names)
    selection = {
        "epoch": history[best]["validation"][SELECTION_METRIC],
        "cross_fitted": cross_fitted,
        "as_served": of_validation["overall"][SELECTION_METRIC],
    }
    metrics = {
        "protocol": protocol(prepared) | about,
        "selection": {name: value for name, value in selection.items() if value is not None},
        "validation": of_validation,
        "test": test_ranks.metrics(names),
        "negative_transfer": {
            name: {key: values[key] for key in ("lambda", "gap")}
            for name, values in domains.items()
            if "gap" in values
        },
        "views": compare_views(model, catalogue, validation),
        "view_weights": view_weights(model, names),
        "influence": influence(scorer, validation, catalogue),
        "baselines": {"popularity": {"test": popularity.metrics(names)}},
        "training": trained.cost(model)
        | {
            "model": config.model.name,
            "versions": {
                module.__name__: module.__version__ for module in (tf_syncrec, tf, keras, np)
            },
        },
    }
    return metrics, test_ranks
