"""Networks that are told of times: nothing leaks, nothing changes where nothing is told."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.exporting import make_catalogue
from tests.support.exporting import make_model as any_model
from tests.support.networks import KINDS, OF_USERS, each
from tests.support.times import random_times
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.evaluation import AT_REQUEST_TIME, TIMED, WITH_TIMES
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.layers import item_domains
from tf_syncrec.layers.times.moments import INPUTS, Times
from tf_syncrec.models.baselines.sasrec import SASRec

NETWORKS_OF_HISTORIES = [name for name in KINDS if name not in OF_USERS]
ALL = list(INPUTS)


def histories():
    items = np.array([[0, 0, 1, 35, 40, 2], [3, 36, 36, 4, 50, 37], [0, 0, 0, 0, 0, 31]], np.int32)
    return items, random_times(items)


@pytest.mark.parametrize("network", each(NETWORKS_OF_HISTORIES))
def test_any_network_is_told(network):
    """What it answers depends on times; by those who tell none it is asked as ever."""
    model = any_model(make_catalogue(), network=network, time_inputs=ALL)
    items, times = histories()
    asked = {"items": items, "domain": np.array([0, 3, 1], np.int32)}
    now = times.max(axis=1) + 5000.0
    usual = model(asked)
    nothing = np.zeros_like(times), np.zeros(3)
    for name, (timestamps, at) in {"nothing": nothing, "history": (times, 0 * now)}.items():
        found = model(asked | {"timestamps": timestamps, "now": at})
        assert np.allclose(found, usual, atol=1e-5) == (name == "nothing")
    told = model(asked | {"timestamps": times, "now": now})
    later = model(asked | {"timestamps": times, "now": now + 9 * 3600.0})
    for other in (found, later):
        assert (np.abs(told - other).max(axis=1) > 1e-3).all(), "of every history"
    batch = {"items": tf.constant(items), "timestamps": tf.constant(times)}
    with tf.GradientTape() as tape:
        loss = tf.function(lambda batch: model.batch_losses(**batch).total, autograph=False)(batch)
    tables = model.embedding.times.tables
    assert np.isfinite(loss) and all(np.any(g) for g in tape.gradient(loss, tables))


def test_the_time_of_an_item_is_told_to_its_own_slot_and_later_ones(make_model, make_items):
    """In training: the slot that predicts it, since it may be told so when it is asked."""
    model = make_model(time_inputs=ALL)
    items = make_items([6, 6], seed=1)
    times = random_times(items, seed=1)

    def outputs(times):
        cross, single = model.training_views(items, None, times, training=False)
        both = ((model.acmoe.cross_experts, cross), (model.acmoe.single_experts, single))
        return [experts(model.embedding(view), view.mask)[0].numpy() for experts, view in both]

    before = outputs(times)
    for moved in range(6):
        changed = times.copy()
        changed[:, moved:] += 5 * 3600.0
        for old, new in zip(before, outputs(changed), strict=True):
            np.testing.assert_array_equal(old[:, :moved], new[:, :moved])
            assert not np.allclose(old[:, moved], new[:, moved])


@pytest.mark.parametrize("length", [1, 3, 9])
def test_a_request_is_told_what_a_training_was(length, make_model, make_items):
    """At the time of the target, of histories shorter and longer than the window."""
    model = make_model(time_inputs=ALL)
    items = make_items([length + 1, max(length - 2, 1) + 1], seed=3)
    times = tf.constant(random_times(items, seed=3))
    domains = item_domains(items[:, -1:], model.offsets)
    trained = model.training_views(items, None, times, training=False)
    asked = model.views(items[:, :-1], domains, Times(times[:, :-1], times[:, -1]))
    for before, now in zip(trained, asked, strict=True):
        np.testing.assert_array_equal(before.tokens[:, -1], now.tokens[:, -1])
        np.testing.assert_array_equal(before.when[:, -1], now.when[:, -1])
        assert np.all(now.when[:, -1, 1] > 0)


def test_it_begins_as_a_network_without_times(make_model, make_items):
    model = make_model(time_inputs=ALL)
    for table in model.embedding.times.tables:
        table.assign(tf.zeros_like(table))
    items, domains = make_items([4, 6], seed=2), np.array([[0, 1], [2, 0]], np.int32)
    times = Times(tf.constant(random_times(items)), tf.constant([1.6e9, 1.7e9], tf.float64))
    np.testing.assert_array_equal(
        model.query_vectors(items, domains, times), model.query_vectors(items, domains)
    )


def test_a_time_keeps_its_seconds(make_model):
    """Keras makes a float32 of what a network is given; of a time that is two minutes."""
    model = make_model(time_inputs=["gap"])
    asked = {"items": tf.constant([[1, 2, 6]]), "domain": tf.constant([0])}
    times = tf.constant([[1.6e9, 1.6e9, 1.6e9]], tf.float64)
    at_once, later = (
        model(asked | {"timestamps": times, "now": times[:, -1] + after}) for after in (0.0, 2.0)
    )
    assert not np.allclose(at_once, later)


def test_a_model_of_users_is_told_nothing():
    model = any_model(make_catalogue(), network="bprmf", time_inputs=ALL)
    assert model.time_inputs == () and not model.timed()
    assert set(model.asked_signature) == {"items", "domain", "user_id"}


def rhythm(users=300, events=12):
    """What is used is the hour of the day; when it is used, nobody can know before."""
    rng = np.random.default_rng(0)
    times = 1.5e9 + np.cumsum(rng.uniform(3600.0, 40 * 3600.0, [users, events + 1]), axis=1)
    items = (1 + times % 86400 // 3600).astype(np.int32)
    catalogue = Catalogue(
        ("apps",),
        np.array([f"app {hour}" for hour in range(24)], object),
        np.zeros(24, np.int32),
        np.bincount(items[:, :-1].ravel() - 1, minlength=24),
        np.array([True]),
    )
    rows = [
        {"user_id": b"%d" % user, "items": own[:-1], "timestamps": when[:-1]}
        for user, (own, when) in enumerate(zip(items, times, strict=True))
    ]
    targets = [
        row | {"target": own[-1], "target_item_id": b"", "domain": 0, "target_timestamp": when[-1]}
        for row, own, when in zip(rows, items, times, strict=True)
    ]
    return FakePrepared(catalogue, {"train": rows, "test": targets})


@pytest.mark.slow
def test_a_daily_rhythm_is_found_once_it_is_told():
    """From batches of training to ranks; who does not say when it is gets no better than chance."""
    prepared, found = rhythm(), {}
    keras.utils.set_random_seed(0)
    model = SASRec([24], window=12, dim=16, blocks=1, dropout=0.0, time_inputs=["hour"])
    model.compile(keras.optimizers.Adam(0.02))
    batches = train_batches(prepared, 12, 32, 0, times=True)
    model.fit(batches.epochs(range(10)), epochs=10, steps_per_epoch=batches.steps, verbose=0)
    for told in (None, *TIMED):
        scorer, rows = ModelScorer(model, told=told), evaluation_batches(prepared, "test", 300)
        ranks = rank_split(scorer, rows, prepared.catalogue, with_rows=False)
        found[told] = ranks.metrics(("apps",))["overall"]["ndcg@10"]
    by_chance = np.mean([1 / np.log2(1 + r) if r <= 10 else 0 for r in range(1, 25)])
    assert found[AT_REQUEST_TIME] > 0.9
    for told in (None, WITH_TIMES):
        assert found[told] == pytest.approx(by_chance, abs=0.08)
