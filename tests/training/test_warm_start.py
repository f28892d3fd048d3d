"""A training that goes on: what was known answers as it did, whatever is new around it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep import Catalogue, InputError
from tests.conftest import FakePrepared
from tests.support.networks import each
from tf_syncrec.config import Config
from tf_syncrec.fit import fit
from tf_syncrec.models.bprmf import BPRMF
from tf_syncrec.models.cgrec import CGRec
from tf_syncrec.models.gru4rec import GRU4Rec
from tf_syncrec.models.mmoe import MMoE
from tf_syncrec.models.sasrec import SASRec, SASRecPair
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training import item_vectors
from tf_syncrec.training.warm_start import carry_over, origins_of, place_new_items

NETWORKS = {
    "syncrec": SyNCRec,
    "sasrec": SASRec,
    "bprmf": BPRMF,
    "sasrec_pair": SASRecPair,
    "gru4rec": GRU4Rec,
    "mmoe": MMoE,
    "cgrec": CGRec,
}
SETTINGS = {"dim": 8, "blocks": 1, "window": 6, "experts": 3, "cross_experts": 1, "neighbours": 4}
YESTERDAY = {"books": ["b1", "b2", "b3"], "films": ["f1", "f2"], "games": ["g1", "g2"]}
TODAY = {
    "art": ["a1"],  # so that all domains move by one
    "books": ["b0", "b3", "b1", "b9"],  # b2 is gone
    "films": ["b1", "f2", "f1"],  # an id that is another item's in books
    "music": ["m1", "m2"],  # and games are gone
}


def catalogue_of(items: dict[str, list[str]]) -> Catalogue:
    ids = np.array([item for domain in items.values() for item in domain], object)
    domains = np.repeat(np.arange(len(items), dtype=np.int32), [len(d) for d in items.values()])
    return Catalogue(tuple(items), ids, domains, np.ones(len(ids), np.int64))


def network(kind, catalogue, users, seed, **settings):
    """Of which every weight matters, those that are fitted after training too."""
    keras.utils.set_random_seed(seed)
    config = Config.model_validate({"model": SETTINGS | settings})
    sizes = dict(zip(catalogue.domains, catalogue.sizes, strict=True))
    more = {"user_ids": users} if kind is BPRMF else {}
    model = kind.from_settings(config, sizes, **more)
    rng = np.random.default_rng(seed)
    for weight in model.learned:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    return model


def ids_of(catalogue, items):
    known = list(
        zip(np.array(catalogue.domains)[catalogue.item_domains], catalogue.item_ids, strict=True)
    )
    return [1 + known.index(item) for item in items]


def scores(model, catalogue, users):
    """Of known items in known domains, to users who did what was known."""
    histories = [
        [("books", "b1"), ("films", "f1"), ("books", "b3")],
        [("films", "f2"), ("films", "f1"), ("books", "b1")],
    ]
    items = tf.constant([ids_of(catalogue, row) for row in histories], tf.int32)
    found = []
    for domain, wanted in (("books", ["b1", "b3"]), ("films", ["f1", "f2"])):
        of_domain = tf.fill([2], catalogue.domains.index(domain))
        queries = model({"items": items, "domain": of_domain, "user_id": tf.constant(users)})
        candidates = ids_of(catalogue, [(domain, item) for item in wanted])
        found.append(queries @ tf.transpose(model.candidate_vectors(tf.constant(candidates))))
    return np.stack(found)


@pytest.mark.parametrize("name", each(NETWORKS))
def test_what_was_known_is_answered_as_it_was(name):
    before, after = catalogue_of(YESTERDAY), catalogue_of(TODAY)
    earlier = network(NETWORKS[name], before, ["ann", "bob"], 0)
    model = network(NETWORKS[name], after, ["eve", "bob", "ann", "joe"], 1)
    expected = scores(earlier, before, ["ann", "bob"])
    assert np.abs(scores(model, after, ["ann", "bob"]) - expected).max() > 1e-2
    new = model.embedding.items.numpy()[ids_of(after, [("books", "b9"), ("films", "b1")])]
    carry_over(earlier, model, origins_of(before, after, earlier, model))
    np.testing.assert_allclose(scores(model, after, ["ann", "bob"]), expected, atol=1e-5)
    np.testing.assert_array_equal(  # and what is new has what it had
        new, model.embedding.items.numpy()[ids_of(after, [("books", "b9"), ("films", "b1")])]
    )


def test_gates_of_whole_sequences_are_carried_too():
    before, after = catalogue_of(YESTERDAY), catalogue_of(TODAY)
    earlier, model = (
        network(SyNCRec, catalogue, [], seed, gate="sequence")
        for seed, catalogue in enumerate((before, after))
    )
    carry_over(earlier, model, origins_of(before, after, earlier, model))
    np.testing.assert_allclose(
        scores(model, after, ["", ""]), scores(earlier, before, ["", ""]), atol=1e-5
    )


def test_lambda_is_carried_by_name_and_what_is_fitted_is_not_carried():
    before, after = catalogue_of(YESTERDAY), catalogue_of(TODAY)
    earlier, model = (
        network(SyNCRec, catalogue, [], seed) for seed, catalogue in enumerate((before, after))
    )
    earlier.negative_transfer.relative.assign([0.5, 0.3, 0.2])
    new = model.negative_transfer.relative.numpy()
    for part in earlier.fitted_parts:
        for weight in part.weights:
            weight.assign(tf.ones_like(weight) * 3)
    kept = [w.numpy() for part in model.fitted_parts for w in part.weights]
    carry_over(earlier, model, origins_of(before, after, earlier, model))
    expected = [new[0], 0.5, 0.3, new[3]]
    np.testing.assert_allclose(model.negative_transfer.relative, expected, rtol=1e-6)
    received = [w.numpy() for part in model.fitted_parts for w in part.weights]
    for one, other in zip(kept, received, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_width_is_refused_before_anything_is_changed():
    before, after = catalogue_of(YESTERDAY), catalogue_of(TODAY)
    earlier, model = network(SASRec, before, [], 0), network(SASRec, after, [], 1, dim=16)
    kept = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match=r"items is \[8, 8\] there, and \[11, 16\] here"):
        carry_over(earlier, model, origins_of(before, after, earlier, model))
    for one, weight in zip(kept, model.weights, strict=True):
        np.testing.assert_array_equal(one, weight.numpy())


def test_new_items_begin_as_near_to_their_neighbours_as_known_items_are(monkeypatch):
    monkeypatch.setattr(item_vectors, "NEIGHBOURHOOD", 1)
    catalogue = catalogue_of({"books": ["old1", "old2", "new", "other", "alone"]})
    rows = [[1, 2], [1, 3], [1, 3], [3, 1], [2, 4], [4, 2], [5], [3, 4]]
    prepared = FakePrepared(
        catalogue,
        {"train": [{"user_id": str(u), "items": row} for u, row in enumerate(rows)]},
    )
    model = network(SASRec, catalogue, [], 0)
    before = model.embedding.items.numpy()
    known = np.array([True, True, False, False, False])
    assert place_new_items(model, prepared, known) == 2
    after = model.embedding.items.numpy()
    np.testing.assert_array_equal(after[[0, 1, 2, 5]], before[[0, 1, 2, 5]])

    def cosine(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    # The two that are known stand beside each other; so near, and no nearer, the new ones begin to
    # theirs. They stand beside each other as well, and of that nothing is known.
    likeness = cosine(before[1], before[2])
    assert cosine(after[3], before[1]) == pytest.approx(likeness, abs=1e-5)
    assert cosine(after[4], before[2]) == pytest.approx(likeness, abs=1e-5)
    usual = np.linalg.norm(before[1:3], axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(after[3:5], axis=1), usual, rtol=1e-5)


# ----------------------------------------------------------------------------- by the command


def log(rows) -> str:
    return "user_id,item_id,domain,timestamp\n" + "".join(f"{','.join(row)}\n" for row in rows)


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory):
    """A run, its log, and the log of a day later, with a new domain, items and users."""
    folder = tmp_path_factory.mktemp("nights")
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"{domain}{rng.integers(8)}", domain, str(user + 100 * time))
        for user in range(30)
        for time, domain in enumerate(rng.choice(["books", "films"], 8))
    ]
    (folder / "yesterday.csv").write_text(log(rows))
    later = [
        (f"u{user}", f"{domain}{rng.integers(4, 12)}", domain, str(user + 100 * time))
        for user in range(15, 45)
        for time, domain in enumerate(rng.choice(["art", "books", "films"], 6), 9)
    ]
    (folder / "today.csv").write_text(log(rows + later))
    fit(
        dataset="interactions",
        path=folder / "yesterday.csv",
        data_dir=folder / "data",
        config="tiny",
        epochs=1,
        output_dir=folder / "yesterday",
        settings={"train.min_steps": 0, "model.dim": 8, "model.window": 10},
        verbose=False,
    )
    return folder


def test_a_run_goes_on_with_the_settings_of_the_one_before(yesterday, capsys):
    run = fit(
        init_from=yesterday / "yesterday", path=yesterday / "today.csv", epochs=1,
        output_dir=yesterday / "today",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "16 of " in said and "new domains: art" in said
    assert run.config.model.dim == 8 and run.config.train.epochs == 1
    assert run.config.train.init_epochs == 1
    assert len(json.loads(run.history_file.read_text())) == 1
    assert set(run.metrics["test"]["domains"]) == {"art", "books", "films"}
    assert run.config.train.init_from == str((yesterday / "yesterday").absolute())


def test_it_begins_where_the_other_ended(yesterday, monkeypatch):
    """On the same log, with all that the earlier run had learned."""
    seen = {}

    def train(model, *others):
        seen["weights"] = {w.path: w.numpy() for w in model.learned}
        raise KeyboardInterrupt

    monkeypatch.setattr("tf_syncrec.pipeline.train", train)
    with pytest.raises(KeyboardInterrupt):
        fit(init_from=yesterday / "yesterday", output_dir=yesterday / "same", verbose=False)
    from tf_syncrec.run import load

    for weight in load(yesterday / "yesterday").model.learned:
        found = [
            w
            for path, w in seen["weights"].items()
            if path.split("/")[1:] == weight.path.split("/")[1:]
        ]
        assert any(np.array_equal(weight.numpy(), each) for each in found), weight.path


def refused(folder, **options):
    with pytest.raises(InputError) as error:
        fit(init_from=folder / "yesterday", output_dir=folder / "no", verbose=False, **options)
    assert not (folder / "no" / "config.yaml").exists()
    return str(error.value)


def test_what_does_not_fit_is_refused_in_one_line(yesterday, tmp_path):
    assert "model.dim = 8, and this run has 16" in refused(yesterday, settings={"model.dim": 16})
    assert "is a run of SyNCRec, and this one would train SASRec" in refused(
        yesterday, model="sasrec"
    )
    others = [
        (f"u{user}", f"{domain} {user % 4}", domain, str(time))
        for user in range(20)
        for time, domain in enumerate(["books", "films"] * 3)
    ]
    (tmp_path / "others.csv").write_text(log(others))
    assert "none of the 8 items" in refused(yesterday, path=tmp_path / "others.csv")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match=r"--init_from .*: not a finished run, config.yaml"):
        fit(init_from=tmp_path / "runs", verbose=False)
