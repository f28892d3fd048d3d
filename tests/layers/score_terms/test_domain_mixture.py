"""One distribution over the items of all domains, and how it is kept."""

import json
import zipfile

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.mixing import literal_log_domains, literal_log_probabilities
from tests.support.networks import each
from tf_syncrec.config import Config
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.metrics.target_ranks import without
from tf_syncrec.models.registry import NETWORKS
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils import hdf5

SIZES = {"some": (5, 0, 3, 1), "thirty": (0, *[1, 4, 2, 0, 7] * 5, 1, 0, 3, 0), "one": (6,)}


def random_mixture(sizes, seed=0):
    mixture = DomainMixture(sizes, dtype="float32")
    mixture.build()
    rng = np.random.default_rng(seed)
    mixture.set_weights([rng.uniform(0.2, 2, weight.shape) for weight in mixture.weights])
    return mixture


def log_probabilities(mixture, scores, items):
    """Of all items, but those of the histories."""
    log_domains, found, end = mixture.log_domains(items), [], 0
    for d, size in enumerate(mixture.domain_sizes):
        own = without(scores[:, end : (end := end + size)], items, end - size + 1)
        totals = mixture.log_totals(own, d)
        found.append(mixture(own, log_domains, totals, domain=d).numpy())
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_it_is_the_literal_mixture_and_adds_up_to_one(sizes):
    """Over what may be recommended of every domain; also of domains without items, or with one."""
    mixture, rng = random_mixture(sizes), np.random.default_rng(1)
    items = rng.integers(1, sum(sizes) + 1, (40, 7)).astype(np.int32)
    for row, padding in zip(items, rng.integers(0, 8, 40), strict=True):
        row[:padding] = 0
    scores = rng.normal(0, 5, (40, sum(sizes))).astype(np.float32)
    received = log_probabilities(mixture, scores, items)
    seen_whole = 0
    for row, of_items, found in zip(items, scores, received, strict=True):
        history = row[row > 0]
        expected = literal_log_probabilities(mixture, of_items, history, history)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        left = np.ones(sum(sizes), bool)
        left[history - 1] = False
        of_domains = np.split(left, np.cumsum(sizes)[:-1])
        there = np.array([part.any() for part in of_domains])
        reached = np.exp(literal_log_domains(mixture, history))[there].sum()
        assert np.exp(found.astype(float)).sum() == pytest.approx(reached, rel=1e-4)
        seen_whole += reached < 0.999
    assert seen_whole < 40


def test_padding_says_nothing_and_no_history_is_what_the_bias_says():
    mixture = random_mixture((5, 0, 3, 1))
    items = np.array([[3, 7, 9, 7, 8]], np.int32)
    padded = np.pad(items, [[0, 0], [4, 0]])
    np.testing.assert_allclose(
        mixture.log_domains(items), mixture.log_domains(padded), rtol=1e-6, atol=1e-6
    )
    assert np.abs(mixture.log_domains(items) - mixture.log_domains(items[:, ::-1])).max() > 0.01
    nobody = mixture.log_domains(np.zeros([2, 0], np.int32)).numpy()
    np.testing.assert_allclose(nobody[0], literal_log_domains(mixture, []).clip(-1e9), rtol=1e-5)


def test_a_constant_on_the_scores_of_a_domain_changes_nothing():
    mixture, rng = random_mixture((5, 4)), np.random.default_rng(2)
    scores, items = rng.normal(size=(6, 9)).astype(np.float32), np.zeros([6, 1], np.int32)
    moved = scores + np.repeat(np.array([3.0, -2.0], np.float32), [5, 4])
    before, after = (log_probabilities(mixture, x, items) for x in (scores, moved))
    np.testing.assert_allclose(before, after, atol=1e-4)


# ---------------------------------------------------------------------------------- how it is kept


@pytest.fixture(scope="module")
def catalogue():
    sizes = (5, 0, 4)
    ids = np.array([f"item {i}" for i in range(9)], object)
    domains = np.repeat(np.arange(3, dtype=np.int32), sizes)
    return Catalogue(("a", "b", "c"), ids, domains, np.arange(9, 0, -1))


def network(name, catalogue, seed):
    keras.utils.set_random_seed(seed)
    users = [{"user_id": b"u", "items": np.array([1], np.int32)}]
    model = {"dim": 4, "experts": 2, "cross_experts": 1, "blocks": 1, "neighbours": 2}
    made = NETWORKS[name].build(
        Config.model_validate({"model": model}), FakePrepared(catalogue, {"train": users})
    )
    for weight in made.mixture.weights:
        weight.assign(np.random.default_rng(seed).uniform(0.5, 1.5, weight.shape))
    return made


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_run_is_loaded_with_it_and_one_of_before_without(tmp_path, catalogue, name, older):
    model, run = network(name, catalogue, 1), RunDirectory(tmp_path / "run")
    run.create(Config(), catalogue, model)
    run.lock.release()
    own = {id(weight) for weight in model.mixture.weights}
    others = [weight for weight in model.weights if id(weight) not in own]
    if older:
        hdf5.save(run.checkpoint_file, {"weights": others})
    else:
        hdf5.save_weights_whole(model, run.checkpoint_file)
    run.write_json(run.metrics_file, {})
    loaded = run.load()[2]
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        same = np.array_equal(ours, theirs)
        assert same == (not older or id(ours) not in own), ours.path
    assert not loaded.mixture.trainable_weights
    if older:
        np.testing.assert_array_equal(loaded.mixture.sharpness, 1.0)
        np.testing.assert_allclose(np.exp(loaded.mixture.log_domains([[0, 1]])), [[0.5, 0, 0.5]])


@pytest.mark.parametrize("older", [False, True])
def test_keras_files_are_read_with_it_and_those_of_before_without(tmp_path, catalogue, older):
    model, file = network("sasrec", catalogue, 2), tmp_path / "model.keras"
    model.save(file)
    if older:
        with zipfile.ZipFile(file) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        weights = tmp_path / "weights.h5"
        weights.write_bytes(parts["model.weights.h5"])
        with h5py.File(weights, "a") as content:
            found: list[str] = []
            content.visit(lambda name: found.append(name) if name.endswith("mixture") else None)
            for name in found:
                del content[name]
        parts["model.weights.h5"] = weights.read_bytes()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    loaded = keras.models.load_model(file)
    np.testing.assert_array_equal(loaded.embedding.items, model.embedding.items)
    same = np.array_equal(loaded.mixture.sharpness, model.mixture.sharpness)
    assert same is not older
    if older:
        np.testing.assert_array_equal(loaded.mixture.sharpness, 1.0)


def test_it_is_rebuilt_from_its_configuration():
    mixture = random_mixture((5, 0, 3))
    twin = keras.layers.deserialize(json.loads(json.dumps(keras.layers.serialize(mixture))))
    assert isinstance(twin, DomainMixture) and twin.get_config() == mixture.get_config()
    assert [w.shape for w in twin.weights] == [w.shape for w in mixture.weights]
