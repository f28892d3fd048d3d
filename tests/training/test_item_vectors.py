"""Initial item vectors: a literal count and decomposition, and neighbours that are neighbours."""

import json

import numpy as np
import pytest

from tf_syncrec import pipeline
from tf_syncrec.cli import prepare_data
from tf_syncrec.comparison import worker as cell
from tf_syncrec.config import Config
from tf_syncrec.fit import main as fit
from tf_syncrec.training.initial import item_vectors as cooccurrence
from tf_syncrec.training.initial.item_vectors import item_vectors

SIZES = (6, 5, 0, 7)


def literal_information(prepared):
    """The positive pointwise mutual information, pair by pair."""
    size = prepared.catalogue.num_items + 1
    counts = np.zeros((size, size))
    for row in prepared.splits["train"]:
        items = row["items"].tolist()
        for i, a in enumerate(items):
            for j, b in enumerate(items):
                if 0 < abs(i - j) <= 2 and a != b:
                    counts[a, b] += 1
    frequency = counts.sum(axis=1)
    context = frequency**0.75 / (frequency**0.75).sum()
    information = np.zeros_like(counts)
    for a, b in np.argwhere(counts):
        information[a, b] = max(0.0, np.log(counts[a, b] / (frequency[a] * context[b])))
    return information


def test_vectors_are_those_of_a_literal_decomposition(make_prepared, monkeypatch):
    monkeypatch.setattr(cooccurrence, "NEIGHBOURHOOD", 2)
    monkeypatch.setattr(cooccurrence, "USERS_AT_ONCE", 7)  # several reads
    prepared = make_prepared(SIZES, users=60)
    vectors = item_vectors(prepared, 5, 0)
    assert vectors.dtype == np.float32 and vectors.shape == (19, 5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    left, values, _ = np.linalg.svd(literal_information(prepared))
    expected = left[:, :5] * np.sqrt(values[:5])
    lengths = np.linalg.norm(expected, axis=1)
    known = lengths > 1e-6
    assert known.sum() == 18
    expected = expected[known] / lengths[known, None]
    # Directions may be mirrored; angles between items may not.
    received = vectors[known]
    np.testing.assert_allclose(received @ received.T, expected @ expected.T, atol=1e-4)


def test_seeds_repeat_and_what_is_unknown_is_random(make_prepared):
    prepared = make_prepared(SIZES, users=60)
    for row in prepared.splits["train"]:
        row["items"] = row["items"][row["items"] > 11]
    first = item_vectors(prepared, 5, 0)
    np.testing.assert_array_equal(first, item_vectors(prepared, 5, 0))
    assert (first[1:12] != item_vectors(prepared, 5, 1)[1:12]).all()


@pytest.mark.parametrize("items", [[], [1], [1, 1, 1]])
def test_a_log_that_says_nothing_gives_random_directions(make_prepared, items):
    prepared = make_prepared(SIZES, users=3)
    for row in prepared.splits["train"]:
        row["items"] = np.array(items, np.int32)
    vectors = item_vectors(prepared, 8, 0)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert np.linalg.matrix_rank(vectors) == 8


def test_more_dimensions_than_items(make_prepared):
    vectors = item_vectors(make_prepared((2, 1), users=30), 8, 0)
    assert vectors.shape == (4, 8) and np.isfinite(vectors).all()


class Begun(Exception):
    """A training is about to begin."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Where the first test that wants a dataset prepares it for the others."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("init", ["cooccurrence", "random"])
@pytest.mark.parametrize("where", [pipeline, cell])
def test_a_training_begins_with_them_where_they_are_asked_for(
    tmp_path, data_dir, monkeypatch, where, init
):
    config = Config.model_validate(
        {
            "data": {"data_dir": data_dir, "synthetic": {"users": 60, "items_per_domain": 9}},
            "model": {"dim": 8, "item_init": init},
        }
    )
    prepared = prepare_data(config)
    met = []

    def begin(model, *args, **kwargs):
        met.append(model.embedding.items.numpy())
        raise Begun

    monkeypatch.setattr(where, "train", begin)
    with pytest.raises(Begun):
        if where is pipeline:
            config.save(tmp_path / "config.yaml")
            options = ["--config", str(tmp_path / "config.yaml")]
            fit([*options, "--output_dir", str(tmp_path / "run")])
        else:
            request = {"model": "sasrec", "seed": 0, "domain": None, "dataset": prepared.name}
            request["config"] = config.model_dump()
            (tmp_path / "cell.json").write_text(json.dumps(request))
            cell.run_cell(tmp_path)
    same = np.array_equal(met[0], item_vectors(prepared, 8, 0))
    assert same == (init == "cooccurrence")
