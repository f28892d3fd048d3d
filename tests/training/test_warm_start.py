"""A training that goes on: what was known answers as it did, whatever is new around it."""

import json

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from data_prep import Catalogue, InputError
from data_prep.read.items.kinds import Column
from tests.support.listed_items import with_items
from tests.support.networks import each
from tests.support.prepared import with_times
from tf_syncrec.config import Config
from tf_syncrec.data.batches import train_batches
from tf_syncrec.data.item_encoder import ItemEncoder
from tf_syncrec.fit import fit
from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.models.baselines.esasrec import ESASRec
from tf_syncrec.models.baselines.gru4rec import GRU4Rec
from tf_syncrec.models.baselines.sasrec import SASRec, SASRecPair
from tf_syncrec.models.cross_domain.abxi import ABXI
from tf_syncrec.models.cross_domain.cgrec import CGRec
from tf_syncrec.models.cross_domain.mmoe import MMoE
from tf_syncrec.models.cross_domain.pi_net import PiNet
from tf_syncrec.models.cross_domain.two_domains.c2dsr import C2DSR
from tf_syncrec.models.cross_domain.two_domains.man import MAN
from tf_syncrec.models.cross_domain.two_domains.mifn import MIFN
from tf_syncrec.models.cross_domain.two_domains.tri_cdr import TriCDR
from tf_syncrec.models.cross_domain.users.clfm import CLFM
from tf_syncrec.models.cross_domain.users.cmf import CMF
from tf_syncrec.models.cross_domain.users.deepapf import DeepAPF
from tf_syncrec.models.registry import network_of
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.initial.new_events import Repeated, learned_until, users_since
from tf_syncrec.training.initial.warm_start import (
    carry_over,
    go_on_from,
    origins_of,
    place_items,
)
from tf_syncrec.training.run_directory import RunDirectory

NETWORKS = {
    "syncrec": SyNCRec,
    "sasrec": SASRec,
    "bprmf": BPRMF,
    "sasrec_pair": SASRecPair,
    "gru4rec": GRU4Rec,
    "mmoe": MMoE,
    "cgrec": CGRec,
    "esasrec": ESASRec,
    "abxi": ABXI,
    "pi_net": PiNet,
    "cmf": CMF,
    "clfm": CLFM,
    "deepapf": DeepAPF,
    "c2dsr": C2DSR,
    "man": MAN,
    "tri_cdr": TriCDR,
    "mifn": MIFN,
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
    more = {"user_ids": users} if issubclass(kind, BPRMF) else {}
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


def test_what_is_learned_of_times_is_carried():
    before, after = catalogue_of(YESTERDAY), catalogue_of(TODAY)
    earlier, model = (
        network(SASRec, catalogue, [], seed, time_inputs=["gap", "weekday"])
        for seed, catalogue in enumerate((before, after))
    )
    carry_over(earlier, model, origins_of(before, after, earlier, model))
    tables = zip(earlier.embedding.times.tables, model.embedding.times.tables, strict=True)
    for old, new in tables:
        assert np.any(old)
        np.testing.assert_array_equal(old, new)


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


def test_items_of_which_there_is_news_are_placed_anew():
    """As far as their interactions are new, in the basis of what was learned."""
    rng = np.random.default_rng(0)
    catalogue = catalogue_of({"books": [f"b{n}" for n in range(30)], "films": ["f"]})
    model = network(SASRec, catalogue, [], 0)
    learned = model.embedding.items.numpy()
    unit = learned / np.linalg.norm(learned, axis=1, keepdims=True)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    first = (unit @ basis).astype(np.float32)  # the same directions, in another basis
    moved = rng.normal(size=8)
    first[[3, 4]] = (moved / np.linalg.norm(moved)) @ basis
    catalogue.counts[:] = 10
    before = catalogue.counts.copy()
    before[2:5] = 0, 5, 20  # items 3, 4 and 5: new, half of it new, and less than it was
    place_items(model, first, before, catalogue)
    after = model.embedding.items.numpy()
    others = np.delete(np.arange(32), [3, 4])
    np.testing.assert_array_equal(after[others], learned[others])

    def cosine(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    # That item 4 moved disturbs the turn of the basis by a thirtieth.
    assert cosine(after[3], moved) > 0.95
    known = np.linalg.norm(np.delete(learned[1:], 2, axis=0), axis=1)
    assert np.linalg.norm(after[3]) == pytest.approx(known.mean(), rel=1e-4)
    half = unit[4] + first[4] @ np.linalg.lstsq(first[6:], unit[6:], rcond=None)[0]
    assert cosine(after[4], half) > 0.95
    assert np.linalg.norm(after[4]) == pytest.approx(np.linalg.norm(learned[4]), rel=1e-4)


# --------------------------------------------------------------------------- attributes of items


def night(name, prepared, seed=0, **settings):
    """A network, all of whose item weights have some size, and its configuration."""
    keras.utils.set_random_seed(seed)
    config = Config.model_validate({"model": SETTINGS | {"name": name} | settings})
    model = network_of(name).build(config, prepared)
    rng = np.random.default_rng(seed)
    for embedding in model.embeddings:
        for weight in embedding.item_weights:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return config, model


@pytest.fixture
def go_on(monkeypatch, tmp_path):
    """`go_on(earlier, its data, its config, model, data, config)`, without files."""

    def run(earlier, before, config, model, prepared, new_config):
        found = config, before.catalogue, earlier
        monkeypatch.setattr(RunDirectory, "load", lambda self: found)
        go_on_from(tmp_path, model, new_config, prepared, lambda line: None)

    return run


@pytest.mark.parametrize("item_init", ["random", "cooccurrence"])
@pytest.mark.parametrize("name", ["sasrec", "sasrec_pair"])
def test_trained_items_keep_their_vectors_under_another_file_of_items(
    make_prepared, go_on, name, item_init
):
    before = with_items(make_prepared())
    after = with_items(make_prepared(), cold=5, seed=1)  # other attributes, and more cold items
    config, earlier = night(name, before)
    new_config, model = night(name, after, 1, item_init=item_init)
    go_on(earlier, before, config, model, after, new_config)
    origins = origins_of(before.catalogue, after.catalogue, earlier, model)["items"]
    trained = np.flatnonzero(after.catalogue.counts > 0)
    new = np.flatnonzero(origins < 0) + 1
    assert len(trained) > 30 and len(new) > 5 and not after.catalogue.counts[new - 1].any()
    for old, embedding in zip(earlier.embeddings, model.embeddings, strict=True):
        said = embedding.attributes.of_all()
        moved = old.attributes.of_all()[origins[trained] + 1] - said[trained + 1]
        assert (np.abs(moved).max(axis=1) > 0.1).mean() > 0.5
        np.testing.assert_allclose(
            embedding.whole_table().numpy()[trained + 1],
            old.whole_table().numpy()[origins[trained] + 1],
            atol=1e-5,
        )
        # New items that nobody has had are what is known of them, and nothing else.
        known = embedding.attributes.known(new).numpy()
        assert known.any()
        own = embedding.items.numpy()
        assert not own[new[known]].any() and own[new[~known]].all()


def test_with_the_same_file_of_items_all_weights_are_as_they_were(make_prepared, go_on):
    prepared = with_items(make_prepared())
    (config, earlier), (new_config, model) = (night("sasrec", prepared, seed) for seed in (0, 1))
    untrained = np.append(False, prepared.catalogue.counts == 0)
    untrained &= earlier.embedding.attributes.known(tf.range(len(untrained))).numpy()
    go_on(earlier, prepared, config, model, prepared, new_config)
    pairs = zip(earlier.embedding.item_weights, model.embedding.item_weights, strict=True)
    for number, (old, new) in enumerate(pairs):
        rows = ~untrained if number == 0 else ...
        np.testing.assert_array_equal(new.numpy()[rows], old.numpy()[rows])


def test_new_items_begin_as_far_as_they_are_rare_where_their_attributes_say(make_prepared):
    rng = np.random.default_rng(0)
    prepared = with_items(make_prepared(), unlisted=0)
    _, model = night("sasrec", prepared)
    embedding, catalogue = model.embedding, prepared.catalogue
    whole, said = embedding.whole_table().numpy(), embedding.attributes.of_all()
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    first = whole / lengths @ basis
    catalogue.counts[:] = 1000
    before = catalogue.counts.copy()
    new = np.arange(5)
    before[new] = 0
    catalogue.counts[new] = 0, 1, 5, 45, 10**9  # 0: nobody has had it yet
    place_items(model, first.astype(np.float32), before, catalogue)
    after = embedding.whole_table().numpy()
    others = np.delete(np.arange(len(whole)), new[1:] + 1)
    np.testing.assert_allclose(after[others], whole[others], atol=1e-5)
    mean = lengths[6:].mean()
    for item, own in ((1, 1 / 6), (2, 1 / 2), (3, 9 / 10), (4, 1)):
        by_itself = mean * whole[item + 1] / lengths[item + 1]
        expected = own * by_itself + (1 - own) * said[item + 1]
        np.testing.assert_allclose(after[item + 1], expected, atol=1e-4)


def test_bins_of_numbers_are_carried_though_their_bounds_moved():
    rng = np.random.default_rng(0)
    prices = rng.gamma(2.0, 10.0, 200)

    def names(values):
        table = pa.table({"listed": np.ones(len(values), bool), "price": values})
        columns = [Column("price", "number")]
        return ItemEncoder.fit(table, columns, np.ones(len(values), bool), 10, 10)[0].names

    found = names(prices)
    assert set(found) == {"", *(f"price={place} of 10" for place in range(1, 11))}
    assert set(names(1.01 * prices + rng.random(200))) == set(found)


def test_a_run_that_knew_no_items_is_not_gone_on_with_by_one_that_does(make_prepared, go_on):
    without, listed = make_prepared(), with_items(make_prepared())
    (config, plain), (_, knowing) = night("sasrec", without), night("sasrec", listed)
    kept = [weight.numpy() for weight in knowing.weights]
    with pytest.raises(InputError, match=r"was trained without a file of items .* run has one$"):
        go_on(plain, without, config, knowing, listed, config)
    for weight, before in zip(knowing.weights, kept, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)
    with pytest.raises(InputError, match=r"was trained with a file of items .* run has none$"):
        go_on(knowing, listed, config, plain, without, config)
    told, timed = night("sasrec", without, time_inputs=["hour"])
    with pytest.raises(InputError, match=r"time_inputs = \[\], and this run has \['hour'\]$"):
        go_on(plain, without, told, timed, without, told)


# ------------------------------------------------------------------------ users with new events


def rows_of(dataset):
    return [
        (row["user_id"].decode(), row["items"].tolist(), row["timestamps"].tolist())
        for row in dataset.as_numpy_iterator()
    ]


def test_the_latest_window_of_users_with_new_events_stands_again(make_prepared):
    prepared = with_times(make_prepared(users=40))
    ends = [row["timestamps"][-1] for row in prepared.splits["train"]]
    time = float(np.median(ends))
    users = users_since(prepared, "train", time)
    assert len(users) == sum(end > time for end in ends) and len(users) == 20
    before = rows_of(prepared.as_dataset("train"))
    again = [(u, i[-5:], t[-5:]) for u, i, t in before if t[-1] > time]
    assert any(len(items) > 5 for _, items, _ in before)
    found = rows_of(Repeated(prepared, users, 2, window=5).as_dataset("train"))
    assert found == before + again * 2
    # A window more for each of them, and twice so.
    repeated = Repeated(prepared, users, 2, window=5)
    few, many = (train_batches(data, 5, 8, 0).count for data in (prepared, repeated))
    assert many - few == 2 * len(users)
    nobody = Repeated(prepared, users_since(prepared, "train", max(ends)), 2, window=5)
    assert rows_of(nobody.as_dataset("train")) == before
    targets = users_since(prepared, "test", -1.0)
    assert len(targets) == len(prepared.splits["test"])
    assert nobody.catalogue is prepared.catalogue


@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_a_few_wrong_clocks_do_not_say_when_a_log_ended(tmp_path, unit):
    run = RunDirectory(tmp_path)
    days = {"books": {"19000": 5000, "19001": 4000}, "films": {"19001": 1000, "40000": 3}}
    day = 86_400 * unit
    newest = {"newest": 40_000.5 * day, "newest_by_split": {"train": 19_000 * day}}
    run.write_json(run.data_card_file, {"times": newest | {"days": days, "per_second": unit}})
    assert learned_until(run, "leave_one_out") == 19_002 * day
    assert learned_until(run, "global_time") == 19_000 * day
    run.write_json(run.data_card_file, {})
    assert learned_until(run, "leave_one_out") is None
    run.data_card_file.unlink()
    assert learned_until(run, "leave_one_out") is None


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
        model="sasrec",
        epochs=1,
        output_dir=folder / "yesterday",
        settings={"train.min_steps": 0, "model.dim": 8, "model.window": 10},
        verbose=False,
    )
    return folder


@pytest.mark.slow
def test_a_run_goes_on_with_the_settings_of_the_one_before(yesterday, capsys):
    run = fit(
        init_from=yesterday / "yesterday", path=yesterday / "today.csv", epochs=1,
        output_dir=yesterday / "today", settings={"train.keep_optimizer": False},
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "The optimizer's moments are carried over, after " in said
    assert [file.name for file in (run.directory / "checkpoints").iterdir()] == ["best.weights.h5"]
    assert "16 of " in said and "new domains: art" in said
    assert "30 users have new events: 4 passes over them per epoch." in said
    assert run.config.model.dim == 8 and run.config.train.epochs == 1
    assert run.config.train.init_epochs == 1
    assert len(json.loads(run.history_file.read_text())) == 1
    assert set(run.metrics["test"]["domains"]) == {"art", "books", "films"}
    assert run.config.train.init_from == str((yesterday / "yesterday").absolute())


@pytest.mark.slow
def test_it_begins_where_the_other_ended(yesterday, monkeypatch):
    """On the same log, with all that the earlier run had learned."""
    seen = {}

    def train(model, *others):
        seen["weights"] = {w.path: w.numpy() for w in model.learned}
        *_, seen["moments"], _ = others
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
    with h5py.File(yesterday / "yesterday" / "checkpoints" / "optimizer.h5") as kept:
        assert seen["moments"][0] > 0 and len(kept["optimizer"]) == len(seen["moments"]) > 20
        for number, moments in enumerate(seen["moments"]):
            np.testing.assert_array_equal(kept[f"optimizer/{number}"], moments)


@pytest.fixture
def begun(monkeypatch):
    """Configurations of the runs that `fit` would train."""
    configs = []

    def fit_run(config, *others, **more):
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("tf_syncrec.pipeline.fit_run", fit_run)
    return configs


def test_settings_of_a_run_that_went_on_do_not_go_on_by_themselves(yesterday, begun):
    settings = Config.model_validate({"train": {"init_from": "runs/before", "epochs": 3}})
    where = {"init_from": yesterday / "yesterday", "output_dir": yesterday / "no", "verbose": False}
    for options in (
        {"config": settings, "epochs": 20, "dataset": "synthetic", "verbose": False},
        where | {"epochs": 20},
        {"settings": {"train.init_from": str(yesterday / "yesterday")}, "verbose": False},
    ):
        with pytest.raises(KeyboardInterrupt):
            fit(**options)
    anew, on, by_set = (config.train for config in begun)
    assert (anew.init_from, anew.epochs) == (None, 20)
    assert (on.init_epochs, on.epochs) == (20, 1)
    assert by_set.init_from == str(yesterday / "yesterday") and by_set.epochs == 1


def refused(folder, **options):
    with pytest.raises(InputError) as error:
        fit(init_from=folder / "yesterday", output_dir=folder / "no", verbose=False, **options)
    assert not (folder / "no" / "config.yaml").exists()
    return str(error.value)


def test_what_does_not_fit_is_refused_in_one_line(yesterday, tmp_path):
    assert "model.dim = 8, and this run has 16" in refused(yesterday, settings={"model.dim": 16})
    assert "is a run of SASRec, and this one would train BPRMF" in refused(yesterday, model="bprmf")
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
