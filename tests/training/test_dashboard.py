"""What is logged is what happened: means over steps, gates, gradient norms, the wait for input."""

import csv
import itertools
import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tf_syncrec.config import Config, ModelConfig, TrainConfig
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.metrics.answer_lists import LIST_METRICS
from tf_syncrec.metrics.gains import METRICS
from tf_syncrec.training.loop import train
from tf_syncrec.training.progress import Progress
from tf_syncrec.training.tensorboard.dashboard import (
    PROFILED,
    Dashboard,
    gate_picture,
    hyperparameters,
)
from tf_syncrec.training.tensorboard.gate_sample import GateSample
from tf_syncrec.training.tensorboard.input_wait import InputWait
from tf_syncrec.training.tensorboard.layout import CHARTS, write_result
from tf_syncrec.training.tensorboard.projector import write_projector

SIZES = (12, 3, 0, 20)


def test_gradient_norms_are_those_of_the_experts(make_model, make_items, same_negatives):
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0))
    before = [weight.numpy() for weight in model.weights]
    logs = model.train_step({"items": make_items([7, 5, 4])})
    # A step of SGD with rate 1 moves every weight by its gradient.
    moved = {
        id(weight): weight.numpy() - old for weight, old in zip(model.weights, before, strict=True)
    }
    for group in ("cross_experts", "single_experts"):
        weights = getattr(model.acmoe, group).trainable_weights
        literal = np.sqrt(sum(np.square(moved[id(weight)]).sum() for weight in weights))
        assert literal > 0
        np.testing.assert_allclose(logs[f"gradient_{group}"], literal, rtol=1e-3)


def test_mutual_information_by_domain_adds_up(make_model, make_items, same_negatives):
    model = make_model()
    losses = model.batch_losses(make_items([7, 5, 4, 6], seed=3))
    np.testing.assert_allclose(
        tf.reduce_sum(losses.domain_mim) / tf.reduce_sum(losses.domain_users),
        losses.mutual_information,
        rtol=1e-5,
    )
    assert (losses.domain_users.numpy() <= 4).all()


def test_means_of_parts_of_an_epoch_make_the_epoch(make_model, make_items, same_negatives):
    model = make_model()
    model.compile(keras.optimizers.Adam(1e-2))
    sums: list[Any] = [0.0]
    for seed in range(4):
        model.train_step({"items": make_items([7, 5, 4], seed=seed)})
        sums.append(model.domain_sums())
    parts = [later - sooner for sooner, later in itertools.pairwise(sums)]
    for quantity, counted in {
        "loss_single": 2,
        "loss_cross": 2,
        "lambda": 4,
        "loss_mim": 6,
    }.items():
        values = np.array([model.domain_means(part)[quantity] for part in parts])
        counts = np.array([part[counted] for part in parts])
        whole = (values * counts).sum(axis=0) / counts.sum(axis=0)
        np.testing.assert_allclose(model.epoch_domains()[quantity], whole, rtol=1e-4)


def test_gates_are_means_over_users_of_the_domain(make_model, make_prepared):
    prepared = make_prepared(SIZES)
    model = make_model(SIZES)
    batches = evaluation_batches(prepared, "validation", 16)
    found = GateSample(batches, prepared.catalogue, model.window).weights(model)
    assert found is not None
    assert found["experts"] == ["cross 1", "cross 2", "single 1"]
    users: dict[int, list[Any]] = {}
    for row in prepared.as_dataset("validation").as_numpy_iterator():
        users.setdefault(int(row["domain"]), []).append(row["items"])
    assert set(found["domains"]) == {f"domain {d}" for d in users}
    for d, of_domain in users.items():
        alone = [model.gate_weights(h[None], np.array([[d]], np.int32)) for h in of_domain]
        shown = found["domains"][f"domain {d}"]
        np.testing.assert_allclose(
            shown["cross"], np.mean([cross[0] for cross, _ in alone], axis=0), rtol=1e-4
        )
        np.testing.assert_allclose(
            shown["single"], np.mean([single[0, 0] for _, single in alone], axis=0), rtol=1e-4
        )
        np.testing.assert_allclose(sum(shown["cross"]), 1.0, rtol=1e-5)


@pytest.mark.parametrize("enabled", [True, False])
def test_only_a_model_with_sc_mim_tells_of_it(enabled, make_model):
    model = make_model(mutual_information=enabled)
    model.compile("adam")
    model.train_step({"items": np.array([[1, 6, 2], [7, 3, 12]], np.int32)})
    for told in (model.epoch_scalars(), model.epoch_domains()):
        assert "loss_single" in told and ("loss_mim" in told) == enabled


@pytest.mark.parametrize("domains", [1, 3, 50])
def test_a_picture_of_any_number_of_domains(domains):
    names = ["$x_{$", *(f"d{i}" for i in range(domains - 1))]
    gates = {
        "experts": ["cross 1", "single 1"],
        "domains": {name: {"cross": [0.2, 0.8], "single": [1.0, 0.0]} for name in names},
    }
    one, other = gate_picture(gates, "cross"), gate_picture(gates, "single")
    assert one.dtype == np.uint8 and one.ndim == 3
    assert one.shape != other.shape or (one != other).any()


def test_the_wait_for_slow_input_is_measured_and_changes_nothing():
    def slow(i):
        return tf.numpy_function(lambda x: __import__("time").sleep(0.02) or x, [i], tf.int64)

    waits = {}
    for name, pause in {"slow": slow, "fast": lambda i: i}.items():
        wait = InputWait()
        rows = tf.data.Dataset.range(20).map(lambda i, pause=pause: {"items": pause(i)})
        assert [int(row["items"]) for row in wait.watch(rows)] == list(range(20))
        waits[name] = wait.seconds
    assert waits["slow"] > 20 * 0.02
    assert waits["fast"] < waits["slow"] / 2


def test_settings_can_be_told_apart(make_model):
    one, other = (
        hyperparameters(Config(model=ModelConfig(dim=dim)), make_model(dim=dim)) for dim in (8, 16)
    )
    assert {name for name in one if one[name] != other[name]} == {"model.dim"}
    assert all(isinstance(value, bool | int | float | str) for value in one.values())


def test_the_projector_has_the_vectors_and_their_domains(tmp_path, make_model, make_prepared):
    catalogue = make_prepared(SIZES).catalogue
    model = make_model(SIZES)
    write_projector(tmp_path, model, catalogue)
    vectors = np.loadtxt(tmp_path / "item_vectors.tsv", delimiter="\t")
    np.testing.assert_allclose(
        vectors, model.candidate_vectors(np.arange(model.num_items + 1))[1:], atol=6e-5
    )
    with (tmp_path / "items.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["item_id"] for row in rows] == list(catalogue.item_ids)
    assert [row["domain"] for row in rows] == [catalogue.domains[d] for d in catalogue.item_domains]
    assert 'metadata_path: "items.tsv"' in (tmp_path / "projector_config.pbtxt").read_text()


@pytest.mark.slow
def test_a_profile_of_some_steps(tmp_path, make_model, make_prepared):
    prepared = make_prepared(SIZES, users=70)
    config = Config(train=TrainConfig(epochs=1, batch_size=2))
    model = make_model(SIZES)
    said: list[str] = []
    batches = train_batches(prepared, model.window, config.train.batch_size, config.train.seed)
    assert batches.steps >= PROFILED.stop
    train(
        model,
        config,
        prepared,
        evaluation_batches(prepared, "validation", 64),
        tmp_path / "best.weights.h5",
        tmp_path,
        said.append,
        profile=True,
    )
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert b"step_num" in trace.read_bytes()  # else the tab knows of no steps
    assert len(said) == 1 and said[0].startswith("epoch 1/1  loss ")


def tags_of(folder):
    found: dict[str, list] = {}
    for file in folder.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(value)
    return found


def test_runs_of_the_same_settings_are_rows_of_their_own(tmp_path, make_prepared):
    """And each chart of the layout has something to show but the losses that a network has not."""
    groups, tags = [], {}
    prepared = make_prepared(SIZES, users=30)
    for name in ("one", "other"):
        catalogue, log_dir = prepared.catalogue, tmp_path / name / "logs"
        dashboard = Dashboard(log_dir, catalogue, Progress(), {"model.dim": 8})
        dashboard.on_train_begin()
        tf.summary.trace_off()
        dashboard.close()
        row = dict.fromkeys((*METRICS, *LIST_METRICS, "users", "exposure", "targets"), 0.5)
        table = {"overall": row, "domains": dict.fromkeys(catalogue.domains, row)}
        write_result(log_dir, {"test": table, "beyond_accuracy": table}, 7)
        tags = tags_of(log_dir)
        (start,) = tags["_hparams_/session_start_info"]
        data = HParamsPluginData.FromString(start.metadata.plugin_data.content)
        groups.append(data.session_start_info.group_name)
    assert groups == [f"one ({tmp_path})", f"other ({tmp_path})"]
    assert sorted(set(tags) - {"custom_scalars__config__"})[0] == "NDCG@10"
    (layout,) = tags["custom_scalars__config__"]
    shown = layout_pb2.Layout.FromString(layout.tensor.string_val[0])
    assert [category.title for category in shown.category] == list(CHARTS)
    assert not shown.category[0].closed
    logged = [*tags, "gap/d", "lambda/d", "loss_single/d", "loss_cross/d", "training/loss"]
    logged += ["validation/overall/ndcg@10", "validation/domain 1/ndcg@10"]
    for charts in CHARTS.values():
        for pattern in charts.values():
            assert any(re.search(pattern, tag) for tag in logged), pattern
