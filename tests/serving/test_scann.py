"""An export with ScaNN answers nearly as the exact one, and keeps every promise of it.

What needs ScaNN is skipped where it cannot be loaded; `make scann` makes an environment with it:
.venv-scann/bin/python -m pytest tests/serving/test_scann.py
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from data_prep import Catalogue, InputError
from serving import export as export_module
from serving.export import export
from serving.saved_model.recommender import Recommender
from serving.saved_model.search import scann_index
from serving.server import loaded_version
from serving.server.loaded_version import LoadedVersion
from serving.server.versions import Versions
from tests.support.exporting import SETTINGS, TOLERANCE, make_model
from tf_syncrec.config import Config

DOMAINS, SIZES = ("large", "small", "larger"), (20_000, 50, 24_000)
ROWS, K = 48, 10
RECALL = 0.85  # of vectors of 8 numbers, which are compressed to 16 bits: harder than 64 to 128


@pytest.fixture(scope="module")
def with_scann():
    try:
        scann_index.operations()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def catalogue():
    domains = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)
    ids = np.array([f"{DOMAINS[d]} {i}" for i, d in enumerate(domains)], object)
    return Catalogue(DOMAINS, ids, domains, np.ones(len(ids), np.int64))


@pytest.fixture(scope="module")
def both(with_scann, catalogue, tmp_path_factory):
    """Two models, each exact and with ScaNN; the latter as versions 1 and 2, both loaded."""
    base = tmp_path_factory.mktemp("scann")
    settings = Config.model_validate(SETTINGS).evaluate
    models = [make_model(catalogue, seed) for seed in (0, 1)]
    pairs = [
        SimpleNamespace(
            exact=Recommender(model, catalogue),
            path=export(model, catalogue, base, settings, index="scann"),
        )
        for model in models
    ]
    for pair in pairs:
        pair.version = LoadedVersion(pair.path)
    return pairs


@pytest.fixture(scope="module")
def histories(catalogue):
    rng = np.random.default_rng(0)
    return rng.choice(catalogue.item_ids, (ROWS, 12))


def exact_answers(pair, items, domains):
    answer = pair.exact.functions["serving_default"](tf.constant(items), tf.constant(domains))
    return {name: value.numpy() for name, value in answer.items()}


def ask(version, items, domains):
    return version.run("serving_default", {"items": items, "domain": np.array(domains, object)})


def recall(found, best):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, best, strict=True)])


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_most_of_the_best_are_found_and_scored_as_they_are(both, histories, domain):
    """All of them among 50 items, which are searched exactly."""
    domains = [domain] * ROWS
    best = exact_answers(both[0], histories, domains)
    found = ask(both[0].version, histories, domains)
    assert recall(found["items"], best["items"]) >= (1.0 if domain == "small" else RECALL)
    scores = [
        dict(zip(*row, strict=True)) for row in zip(best["items"], best["scores"], strict=True)
    ]
    for row, (items, given) in enumerate(zip(found["items"], found["scores"], strict=True)):
        assert len(set(items)) == K and (np.diff(given) <= 0).all()
        for item, score in zip(items, given, strict=True):
            if item in scores[row]:
                assert score == pytest.approx(scores[row][item], abs=TOLERANCE)


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_no_item_of_the_history_and_none_of_another_domain(both, domain):
    """Also of a user who has seen what would be best, again and again."""
    history = ["large 0", "small 20001", "larger 20051"]
    for _ in range(4):
        answer = ask(both[0].version, np.array([history], object), [domain])
        items = [item.decode() for item in answer["items"][0]]
        assert not set(items) & set(history)
        assert all(item.split()[0] == (domain or item.split()[0]) for item in items)
        assert [name.decode() for name in answer["domains"][0]] == [i.split()[0] for i in items]
        assert len(set(items)) == K
        history += items


def test_after_a_very_long_history_the_search_is_exact(both, catalogue):
    rng = np.random.default_rng(1)
    items = rng.choice(catalogue.item_ids, (2, 1500), replace=False)
    domains = ["larger", "large"]
    best = exact_answers(both[0], items, domains)
    found = ask(both[0].version, items, domains)
    assert recall(found["items"], best["items"]) == 1.0


def test_versions_and_ways_of_loading_do_not_mix_up_their_indices(both, histories):
    """With TFRS's layer, the second index of a process answered with items of the first."""
    domains = [DOMAINS[i % 3] for i in range(ROWS)]
    loaded = [tf.saved_model.load(str(pair.path)) for pair in both]
    for _ in range(2):
        for pair, module in zip(both, loaded, strict=True):
            best = exact_answers(pair, histories, domains)
            found = ask(pair.version, histories, domains)
            assert recall(found["items"], best["items"]) >= RECALL
            same = module.signatures["serving_default"](
                items=tf.constant(histories), domain=tf.constant(domains)
            )
            np.testing.assert_allclose(same["scores"], found["scores"], atol=TOLERANCE)
            np.testing.assert_array_equal(same["items"], found["items"])


# ---------------------------------------------------------------------------- where there is none


@pytest.fixture
def without_scann(monkeypatch):
    monkeypatch.setitem(sys.modules, "scann", None)
    for name in [name for name in sys.modules if name.startswith("scann.")]:
        monkeypatch.setitem(sys.modules, name, None)


def test_an_export_with_scann_is_refused_at_once(without_scann, tmp_path):
    """Before it is noticed that there is no such run."""
    with pytest.raises(InputError, match=r"ScaNN cannot be loaded .*`make scann`"):
        export_module.main(["--run", str(tmp_path / "none"), "--index", "scann"])


def test_the_status_of_such_a_version_says_what_is_missing(without_scann, tmp_path):
    version = tmp_path / "1"
    version.mkdir()
    (version / "saved_model.pb").write_bytes(b"... Scann>TensorsToScann ...")
    versions = Versions(tmp_path)
    versions.refresh()
    assert "ScaNN cannot be loaded" in versions.statuses[1].status.error_message


def test_an_exact_export_needs_no_scann(without_scann, served, monkeypatch):
    assert not scann_index.uses_scann(served.version)
    monkeypatch.setattr(loaded_version, "read_warmup", lambda path: ())  # which takes long
    LoadedVersion(served.version)
