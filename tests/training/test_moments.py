"""Moments of the optimizer in a training that goes on: by raw id, and through a kill."""

import os
import signal

import keras
import numpy as np
import pytest

from data_prep import InputError
from tests.support import killed
from tests.training.test_resume import stop_at, whole_state
from tests.training.test_warm_start import TODAY, YESTERDAY, catalogue_of, network
from tf_syncrec.config import Config
from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.initial.moments import carried_moments
from tf_syncrec.training.initial.warm_start import origins_of
from tf_syncrec.training.loop import learning_rate
from tf_syncrec.training.optimizers import FromStep, optimizer_of, state_of
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils.hdf5 import OPTIMIZER, save
from tf_syncrec.utils.stopping import Stopped

STEPS = 70
OPTIMIZERS = ("rowwise_adam", "adam")


def finished_run(folder, model, name):
    """The optimizer of a run that has ended, with other numbers in every place."""
    optimizer = optimizer_of(name, 0.1)
    optimizer.build(model.trainable_weights)
    rng = np.random.default_rng(0)
    for variable in state_of(optimizer):
        values = rng.integers(1, STEPS, variable.shape) + (0 if "step" in variable.name else 0.5)
        variable.assign(np.asarray(values).astype(variable.dtype))
    optimizer.iterations.assign(STEPS)
    run = RunDirectory(folder)
    run.optimizer_file.parent.mkdir(parents=True)
    save(run.optimizer_file, {OPTIMIZER: state_of(optimizer)})
    config = Config.model_validate({"train": {"optimizer": name}})
    config.save(run.config_file)
    return run, config, state_of(optimizer)


def carried(folder, kind, name, before, after, users=((), ())):
    """Names and values of what a run ended with, and what another one begins with."""
    catalogue, today = catalogue_of(before), catalogue_of(after)
    earlier = network(kind, catalogue, list(users[0]), 0)
    model = network(kind, today, list(users[1]), 1)
    run, config, ended = finished_run(folder, earlier, name)
    said: list[str] = []
    origins = origins_of(catalogue, today, earlier, model)
    begun = carried_moments(run, earlier, model, config, origins, said.append)
    assert begun is not None
    assert said == ["The optimizer's moments are carried over, after 70 steps."]
    return {
        variable.path.partition("/")[2]: (np.array(variable.numpy()), values)
        for variable, values in zip(ended, begun, strict=True)
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_equal_catalogue_begins_with_what_the_run_ended_with(tmp_path, name):
    found = carried(tmp_path, SyNCRec, name, YESTERDAY, YESTERDAY)
    assert len(found) > 40 and found["iteration"][1] == STEPS
    for path, (ended, begun) in found.items():
        assert begun.dtype == ended.dtype, path
        np.testing.assert_array_equal(begun, ended, path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_items_in_another_order_have_their_own_rows(tmp_path, name):
    turned = {domain: ids[::-1] for domain, ids in YESTERDAY.items()}
    order = [0, 3, 2, 1, 5, 4, 7, 6]
    found = carried(tmp_path, SASRec, name, YESTERDAY, turned)
    tables = [path for path in found if "items_" in path]
    assert len(tables) == 2
    for path, (ended, begun) in found.items():
        np.testing.assert_array_equal(begun, ended[order] if path in tables else ended, path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_new_rows_have_the_mean_square_of_known_ones_and_were_read_now(tmp_path, name):
    """Of `TODAY`, with users: those that are gone say nothing."""
    found = carried(
        tmp_path, BPRMF, name, YESTERDAY, TODAY, (["ann", "bob"], ["eve", "bob", "ann"])
    )
    # [padding, a1, b0, b3, b1, b9, b1 of films, f2, f1, m1, m2]
    new, known, of = [1, 2, 5, 6, 9, 10], [0, 3, 4, 7, 8], [0, 3, 1, 5, 4]
    checked = 0
    for path, (ended, begun) in found.items():
        kind = path.rpartition("items_")[2].rpartition("embeddings_")[2]
        if "items_" in path:
            np.testing.assert_array_equal(begun[known], ended[of])
            rows, mean = begun[new], ended[of].mean(0)
        elif "embeddings_" in path:  # of users; the last row is nobody's
            np.testing.assert_array_equal(begun[[1, 2]], ended[[1, 0]])
            rows, mean = begun[[0]], ended[[0, 1]].mean(0)
        else:
            assert path == "iteration"
            continue
        expected = {"velocity": mean, "momentum": 0, "last_step": STEPS}[kind]
        np.testing.assert_allclose(rows, np.broadcast_to(expected, rows.shape), rtol=1e-6)
        checked += 1
    assert checked == 4


def test_a_run_that_kept_none_or_had_another_optimizer_is_told(tmp_path):
    catalogue = catalogue_of(YESTERDAY)
    model = network(SASRec, catalogue, [], 0)
    run, config, _ = finished_run(tmp_path, model, "adam")
    said: list[str] = []
    origins = origins_of(catalogue, catalogue, model, model)

    def of(name):
        config.train.optimizer = name
        return carried_moments(run, model, model, config, origins, said.append)

    assert of("rowwise_adam") is None and "trained with adam" in said[-1]
    run.optimizer_file.write_bytes(run.optimizer_file.read_bytes()[:500])
    with pytest.raises(InputError, match=r"optimizer\.h5 cannot be read"):
        of("adam")
    run.optimizer_file.unlink()
    assert of("adam") is None and "did not keep" in said[-1]
    assert len(said) == 2


def test_the_rate_of_a_training_that_goes_on_begins_anew():
    train = Config.model_validate({"train": {"schedule": "cosine", "epochs": 3}}).train
    schedule = learning_rate(train, 20)
    later = FromStep(schedule, 500)
    later = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(later))
    for step in range(60):
        assert float(later(keras.ops.convert_to_tensor(500 + step))) == float(schedule(step))


@pytest.mark.slow
def test_killed_in_a_training_that_goes_on_with_moments(tmp_path, monkeypatch):
    """To the end it would have had, at the rates of a training that begins."""
    config = killed.settings(
        init_from="yesterday", init_epochs=1, schedule="cosine", checkpoint_steps=0
    )
    model = SyNCRec.from_settings(config, killed.ring().catalogue.sizes)
    _, _, ended = finished_run(tmp_path, model, config.train.optimizer)
    moments = [np.array(each.numpy()) for each in ended]
    model, _ = killed.train_kept(tmp_path / "on", config, moments=moments)
    assert int(model.optimizer.iterations.numpy()) == STEPS + 14
    expected = whole_state(tmp_path / "on")
    assert expected[2]["steps_before"] == STEPS
    stop_at(monkeypatch, 9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        killed.train_kept(tmp_path / "killed", config, moments=moments)
    killed.train_kept(tmp_path / "killed", config)
    assert whole_state(tmp_path / "killed") == expected
