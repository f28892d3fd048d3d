"""A small model with every difficulty of a catalogue, exported once for all tests of serving."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from serving.export import export
from tests.conftest import FakePrepared
from tf_syncrec.config import Config
from tf_syncrec.models.registry import NETWORKS

DOMAINS = ("audio", "books", "empty", "música")
NOWHERE = (False, False, False, False)
SIZES = (30, 3, 0, 45)
WINDOW, TOP_K, MAX_K = 6, 10, 40
SETTINGS = {
    "model": {"dim": 8, "experts": 3, "cross_experts": 2, "blocks": 1, "window": WINDOW}
    | {"neighbours": 4, "user_neighbours": 200},
    "evaluate": {"top_k": TOP_K, "max_k": MAX_K},
}
TOLERANCE = 1e-3  # of scores between -20 and 20
TERMS: dict[str, Any] = {
    "repeats": (False, True, False, True),
    "repeat_consumption": True,
    "trend": True,
    "time_inputs": ("gap", "hour", "weekday"),
}
"""All that can be fitted on top of a network, which is told of times, and people who come back."""
USERS = [f"user {number}" for number in range(120)]


def make_catalogue():
    """Ids with spaces, quotes and letters of several scripts; popular first, with ties."""
    rng = np.random.default_rng(0)
    ids = [f"{DOMAINS[d]} 日本 'x' {i}" for d, size in enumerate(SIZES) for i in range(size)]
    counts = np.concatenate([-np.sort(-rng.integers(1, 30, size)) for size in SIZES])
    domains = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)
    return Catalogue(DOMAINS, np.array(ids, object), domains, counts)


def make_model(catalogue, seed=0, network="syncrec", **settings):
    """A model whose every weight matters: as initialised, many are 0 or 1."""
    keras.utils.set_random_seed(seed)
    rows = np.random.default_rng(seed + 1)
    users = [
        {
            "user_id": user.encode(),
            "items": rows.integers(1, catalogue.num_items + 1, rows.integers(1, 9), np.int32),
        }
        for user in USERS
    ]
    model: Any = NETWORKS[network].build(
        Config.model_validate(SETTINGS | {"model": SETTINGS["model"] | settings}),
        FakePrepared(catalogue, {"train": users}),
    )
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    if layer := model.neighbours:
        others = rng.integers(0, catalogue.num_items + 1, layer.others.shape)
        others[0] = 0  # padding has no neighbours
        layer.others.assign(others)
        layer.similarities.assign(rng.uniform(0, 1, layer.others.shape) * (layer.others > 0))
        layer.weight.assign(8.0)
        layer.decay.assign(0.8)
    if layer := model.user_neighbours:
        layer.weight.assign(2.0)
        layer.backward.assign(0.4)
    if model.repeats is not None:  # to come back may also be worth less than nothing
        for weight in model.repeats.weights:
            weight.assign(rng.normal(0, 1.5, weight.shape))
    if model.trend is not None:
        model.trend.gain.assign(rng.normal(0, 1.5, model.trend.gain.shape))
    if layer := getattr(model, "view_weights", None):
        layer.single.assign(rng.uniform(0, 2, catalogue.num_domains))
    for weight in model.mixture.weights:  # so that domains differ in all that there is
        weight.assign(rng.uniform(0.3, 1.5, weight.shape))
    return model


def make_served(base, network="syncrec", repeats=NOWHERE, **settings):
    """A model, its export below `base`, and what that loads as."""
    catalogue = dataclasses.replace(make_catalogue(), repeats=np.array(repeats))
    model = make_model(catalogue, network=network, **settings)
    version = export(model, catalogue, base, Config.model_validate(SETTINGS).evaluate)
    return SimpleNamespace(
        catalogue=catalogue,
        model=model,
        base=base,
        version=version,
        loaded=tf.saved_model.load(str(version)),
        ids=[str(item) for item in catalogue.item_ids],
    )


def padded(histories, width=None):
    width = max([len(history) for history in histories] + [width or 0])
    return [[*history, *[""] * (width - len(history))] for history in histories]


def random_histories(served, count, seed, longest=3 * WINDOW):
    """At least one known item each; some repeat, some are longer than the window."""
    rng = np.random.default_rng(seed)
    return [list(rng.choice(served.ids, rng.integers(1, longest))) for _ in range(count)]
