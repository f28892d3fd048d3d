"""Small networks whose every weight matters, for what is fitted after training."""

import keras
import numpy as np
import pytest

from tf_syncrec.config import Config
from tf_syncrec.models.registry import NETWORKS, PUBLISHED
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring.votes import count_neighbours, fit_votes

OF_A_KIND = ("syncrec", "sasrec", "bprmf")
"""Two views, one, and a user in place of a history; the others have parts of these."""


KINDS = [
    name for name in NETWORKS if not name.startswith("syncrec_") and not name.endswith(PUBLISHED)
]
"""All networks, without the variants of SyNCRec and without those that have another loss alone."""


OF_USERS = ("bprmf", "cat_art", "cmf", "clfm", "dtcdr", "deepapf", "bitgcf")
"""They are asked by user, and not by history."""


LIKE_THESE = ("sasrec_pair", "carca", "bitgcf", "c2dsr")
"""What has a part of its own beside them: in the score, or in what an item is."""


def each(names):
    """Networks as parameters of a test; those that are like another are slow, or run by hand."""

    def marked(name):
        return pytest.param(
            name, marks=getattr(pytest.mark, "slow" if name in LIKE_THESE else "long")
        )

    return [name if name in OF_A_KIND else marked(name) for name in names]


def fit_neighbours(model, prepared, batches, report):
    """Votes, and nothing else of the score."""
    count_neighbours(model, prepared)
    fit_votes(model, prepared.catalogue, batches, report)


SETTINGS = {"dim": 8, "blocks": 1, "experts": 2, "cross_experts": 1, "window": 12}


def small_network(prepared, kind=SyNCRec, seed=0, **settings):
    """Random weights of some size, so that the two views of a network disagree."""
    keras.utils.set_random_seed(seed)
    model = kind.from_data(Config.model_validate({"model": SETTINGS | settings}), prepared)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape).astype(np.float32))
    return model
