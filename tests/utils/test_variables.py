"""Large variables: what is done in pieces is what is done at once, and nothing is copied."""

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import killed
from tests.training.test_resume import h5_arrays
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.metrics import target_ranks as metrics_ranks
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.utils import hdf5
from tf_syncrec.utils import variables as large
from tf_syncrec.utils.hdf5 import load_weights, save_weights_whole


@pytest.fixture(params=[1 << 26, 100, 1])
def at_once(request, monkeypatch):
    """Pieces of everything, of some rows, of one row."""
    monkeypatch.setattr(large, "BYTES_AT_ONCE", request.param)
    return request.param


@pytest.fixture(params=["one", "mirrored"])
def strategy(request):
    if request.param == "one":
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(["CPU:0"])


def variables(values):
    shapes = [(), (0, 3), (7,), (40, 3)]
    kinds = ["float32", "float32", "int64", "float32"]
    arrays = [np.full(shape, values, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    return [
        keras.Variable(a + np.arange(a.size).reshape(a.shape).astype(a.dtype), dtype=a.dtype)
        for a in arrays
    ]


def test_a_file_gives_back_what_was_saved(tmp_path, at_once, strategy):
    file, kept = tmp_path / "file.h5", np.arange(5.0)
    with strategy.scope():
        before, after = variables(5), variables(0)
    hdf5.save(file, {"a": before, "b": [kept]})
    assert hdf5.holds(file, "b") and not hdf5.holds(file, "c")
    filled = np.zeros(5)
    hdf5.load(file, {"a": after, "b": [filled]})
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    np.testing.assert_array_equal(filled, kept)


def test_another_file_changes_nothing(tmp_path):
    file, after = tmp_path / "file.h5", variables(0)
    unchanged = [variable.numpy() for variable in after]
    for arrays, words in (
        (variables(5)[:3], r"a/3 is missing, the model has float32 \[40, 3\]"),
        ([*variables(5), np.zeros(2)], "a/4 is float64 .*, the model has none"),
        ([*variables(5)[:3], np.zeros((40, 4), np.float32)], r"is float32 \[40, 4\], .* \[40, 3\]"),
    ):
        hdf5.save(file, {"a": arrays})
        with pytest.raises(ValueError, match=words):
            hdf5.load(file, {"a": after})
    file.write_bytes(file.read_bytes()[:500])
    for look in (lambda: hdf5.load(file, {"a": after}), lambda: hdf5.holds(file, "a")):
        with pytest.raises(ValueError, match=f"{file} cannot be read"):
            look()
    for before, variable in zip(unchanged, after, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())


def test_a_table_is_not_copied(strategy):
    """Not when it is read, and not by the update of rows that follows."""
    with strategy.scope():
        table = keras.Variable(np.ones((40, 3), np.float32))

    def place():
        return large.as_array(table).__array_interface__["data"][0]

    update = tf.IndexedSlices(tf.zeros([1, 3]), tf.constant([7]))
    table.value.scatter_update(update)
    first = place()
    table.value.scatter_update(update)
    assert place() == first
    assert large.all_finite(table)
    held = large.as_array(table)
    table.value.scatter_update(tf.IndexedSlices(tf.fill([1, 3], np.nan), tf.constant([7])))
    assert np.isfinite(held).all() and not large.all_finite(table), "who holds it, keeps it"


@pytest.mark.parametrize("at_once", [100], indirect=True)
def test_a_number_in_the_last_piece_is_seen(at_once):
    table = keras.Variable(np.zeros((40, 3), np.float32))
    assert large.all_finite(table)
    table.assign(np.where(np.arange(40)[:, None] == 39, np.inf, 0.0).repeat(3, 1))
    assert not large.all_finite(table)


@pytest.mark.parametrize("by", ["ours", "keras"])
def test_weights_of_either_format_are_read(tmp_path, at_once, by):
    model, other = (SyNCRec.from_settings(killed.settings(), [6, 6]) for _ in range(2))
    file = tmp_path / "best.weights.h5"
    if by == "ours":
        save_weights_whole(model, file)
    else:
        model.save_weights(file)
    load_weights(other, file)
    for left, right in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy(), left.path)
    if by == "ours":
        assert len(h5_arrays(file)) == len(model.weights)
        with h5py.File(file, "a") as content:
            del content["weights/3"]
        with pytest.raises(ValueError, match="weights/3 is missing"):
            load_weights(other, file)


@pytest.mark.parametrize("kind", ["dot", "cosine"])
def test_scores_are_those_of_all_candidate_vectors(monkeypatch, at_once, kind):
    """Scaling the vectors or their products, lengths in pieces or at once."""
    config = killed.settings()
    config.model.similarity = kind
    sizes = [9, 30]
    model = SyNCRec.from_settings(config, sizes)
    table = model.embedding.items
    table.assign(table.numpy() * np.geomspace(1e-3, 1e3, 40)[:, None])  # lengths differ
    every = model.candidate_vectors(np.arange(40))
    queries = tf.random.stateless_normal([20, config.model.dim], (1, 2))
    history = tf.random.stateless_uniform([20, 5], (3, 4), 0, 40, tf.int32)
    targets = tf.range(10, 30)
    offset, size = 10, 30
    expected = tf.matmul(queries, every[offset : offset + size], transpose_b=True)
    scorer = ModelScorer(model)
    for limit in (metrics_ranks.SCORES_AT_ONCE, 1):
        monkeypatch.setattr(metrics_ranks, "SCORES_AT_ONCE", limit)
        scorer.refresh()
        scores = scorer.scores(queries, offset, size)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(
            *(metrics_ranks.target_ranks(of, history, targets, offset) for of in (scores, expected))
        )


def test_items_that_are_the_same_tie_however_they_are_scored(monkeypatch):
    """Else a model that has collapsed to one vector would win by rounding."""
    model = SyNCRec.from_settings(killed.settings(), [9, 30])
    table = model.embedding.items
    table.assign(np.broadcast_to(table.numpy()[3], table.shape))
    queries = tf.random.stateless_normal([20, 4], (1, 2))
    scorer, nothing = ModelScorer(model), tf.zeros([20, 1], tf.int32)
    scorer.refresh()
    for limit in (metrics_ranks.SCORES_AT_ONCE, 1):
        monkeypatch.setattr(metrics_ranks, "SCORES_AT_ONCE", limit)
        scores = scorer.scores(queries, 10, 30)
        ranks = metrics_ranks.target_ranks(scores, nothing, tf.range(10, 30), 10)
        np.testing.assert_array_equal(ranks, 30)
