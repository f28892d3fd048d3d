"""From Python: fit, load, recommend, evaluate; and what a run takes of Keras."""

import json
import sys
import types
from typing import Any

import duckdb
import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tf_syncrec
from data_prep.errors import InputError
from data_prep.read.datasets.synthetic import generate
from tests.support.networks import KINDS, OF_A_KIND
from tf_syncrec import config, pipeline, recommend
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.reporting.titles import read_titles
from tf_syncrec.run import COLUMNS, Run
from tf_syncrec.scoring.mixture import fit_mixture
from tf_syncrec.training.run_directory import RunDirectory

run_module = sys.modules[Run.__module__]
SIZES = {"data.synthetic.users": 120, "data.synthetic.items_per_domain": 30}


class Look(keras.callbacks.Callback):
    """Notes what a callback of one's own is told."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.logs = {}

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(epoch)
        self.logs = dict(logs)


def fitted(folder, **more):
    options: dict[str, Any] = {
        "dataset": "synthetic",
        "config": "tiny",
        "seed": 3,
        "epochs": 3,
        "verbose": False,
    }
    options |= {"data_dir": str(folder / "data"), "settings": SIZES}
    return tf_syncrec.fit(**options | more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and the callback that was there."""
    folder, look = tmp_path_factory.mktemp("python"), Look()
    run = fitted(folder, output_dir=str(folder / "run"), callbacks=[look], log="csv")
    return run, look


def test_titles_are_read_once(tmp_path, monkeypatch):
    run, reads = Run(tmp_path), []
    run.write_titles(pa.table({"item_id": ["a"], "title": ["Red"]}))
    answer = pd.DataFrame([["u", "x", 1, "a", 0.5, False], ["u", "x", 2, "b", 0.1, False]])
    known = {"catalogue": types.SimpleNamespace(domains=["x"]), "config": config.Config()}
    monkeypatch.setattr(run, "_answer", lambda *asked: answer.set_axis(COLUMNS, axis=1))

    def read(file):
        reads.append(file)
        return read_titles(file)

    monkeypatch.setattr(run_module, "read_titles", read)
    vars(run).update(known)
    for _ in range(3):
        assert run.recommend({"u": ["a"]}, "x", k=2)["title"].tolist() == ["Red", ""]
    assert len(reads) == 1


def test_everybody_is_answered_by_all_that_they_did(made, tmp_path):
    """By the run alone: its log is made anew, and holds the test targets."""
    run, output = made[0], tmp_path / "recs.parquet"
    recommend.main(["--run", str(run.directory), "--k", "4", "--output", str(output)])
    table = pd.read_parquet(output)
    log = generate(run.config.data.synthetic).to_pandas()
    log = log.sort_values(["user_id", "timestamp"], kind="stable")
    by_user = {user: rows["item_id"].tolist() for user, rows in log.groupby("user_id")}
    assert set(table["user_id"]) == set(by_user) and len(by_user) == SIZES["data.synthetic.users"]
    for domain, rows in table.groupby("domain"):
        expected = run.recommend(by_user, str(domain), k=4).set_index(["user_id", "rank"])
        found = rows.set_index(["user_id", "rank"]).reindex(expected.index)
        assert found["item_id"].equals(expected["item_id"]) and len(rows) == len(expected)
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-4)


def test_fit_calls_keras_once_and_its_callbacks_see_the_validation(made):
    run, look = made
    assert look.calls == ["begin", 0, 1, 2]
    history = json.loads(run.history_file.read_text())
    assert look.logs["val_ndcg@10"] == pytest.approx(history[-1]["validation"]["ndcg@10"])
    assert look.logs["loss"] == pytest.approx(history[-1]["loss"])
    assert {"val_hr@5", "val_mrr", "val_ndcg@10/books", "loss_single"} <= set(look.logs)


def test_the_csv_files_of_a_run_say_what_its_own_files_say(made):
    run, look = made
    epochs = pd.read_csv(run.directory / "epochs.csv", index_col="epoch")
    history = json.loads(run.history_file.read_text())
    assert epochs.index.tolist() == [1, 2, 3] and set(look.logs) == set(epochs.columns)
    np.testing.assert_allclose(epochs["loss"], [row["loss"] for row in history])
    domains = [row["validation_domains"]["books"]["mrr"] for row in history]
    np.testing.assert_allclose(epochs["val_mrr/books"], domains)
    results = pd.read_csv(run.directory / "results.csv", index_col="metric")["value"]
    assert results["test/overall/ndcg@10"] == run.metrics["test"]["overall"]["ndcg@10"]
    gap = run.metrics["negative_transfer"]["books"]["gap"]
    assert results["negative_transfer/books/gap"] == gap


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "duckdb"])
def test_histories_of_any_frame_are_answered_alike(made, library):
    items = ["books_01", "films_02", "music_03"]
    rows = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": items})
    given = {
        "pandas": lambda: rows,
        "pyarrow": lambda: pa.Table.from_pandas(rows),
        "duckdb": lambda: duckdb.from_df(rows),
    }[library]()
    expected = made[0].recommend({"a": items[:2], "b": items[2:]}, "music", k=3)
    pd.testing.assert_frame_equal(made[0].recommend(given, "music", k=3), expected)


@pytest.mark.slow
def test_early_stopping_of_keras_ends_a_run_whose_settings_are_nested(tmp_path):
    """One setting of a section leaves the others of the section as they are."""

    class Never(keras.callbacks.EarlyStopping):
        def get_monitor_value(self, logs):
            return 0.0 * super().get_monitor_value(logs)

    never = Never("val_ndcg@10", mode="max")
    settings = SIZES | {"model": {"window": 7, "similarity": "dot"}}
    given = {"model": "bprmf", "settings": settings, "callbacks": [never]}
    run = fitted(tmp_path, output_dir=str(tmp_path / "run"), **given)
    assert run.finished and len(json.loads(run.history_file.read_text())) == 2
    assert run.config.model.window == 7 and run.config.model.dim == 16


def test_a_run_is_loaded_with_its_numbers(made, capsys):
    run = tf_syncrec.load(made[0].directory)
    assert run.config.train.seed == 3
    assert isinstance(run.model, tf_syncrec.SyNCRec)
    assert run.model.domains == run.catalogue.domains
    for split in ("validation", "test"):
        assert run.evaluate(split) == run.metrics[split]
    assert capsys.readouterr().out == ""  # who calls a library prints himself


def place_of(row):
    """Where a target stands among ten answers, which hold nothing of the history."""
    return row.rank if row.rank <= 10 and row.item_id not in row.history else None


def test_recommendations_are_those_of_the_served_model(made):
    run = tf_syncrec.load(made[0].directory)
    ranks = pd.read_parquet(run.ranks_file)
    found = 0
    for domain, rows in ranks.groupby("domain"):
        histories = dict(zip(rows["user_id"], map(list, rows["history"]), strict=True))
        table = run.recommend(histories, str(domain), k=10)
        assert tuple(table.columns) == COLUMNS
        assert set(table["domain"]) == {domain} and not table["fallback"].any()
        places = table.set_index(["user_id", "item_id"])["rank"]
        for row in rows.itertuples():
            place = places.get((row.user_id, row.item_id))
            assert place == place_of(row)
            found += place is not None
    assert found > 0


def test_what_next_anywhere_is_answered_as_it_was_measured(made):
    """HR@10 of `metrics.json` is that of the served answers, and each target has its place."""
    run = tf_syncrec.load(made[0].directory)
    catalogue, prepared = run.catalogue, run.data()
    batches = evaluation_batches(prepared, "test", run.config.evaluate.batch_size)
    scorer = ModelScorer(run.model)
    ranks, raw = rank_all_domains(scorer, batches, catalogue, run.model.mixture)
    measured = run.metrics["all_domains"]
    assert measured["test"] == ranks.metrics(catalogue.domains)
    assert measured["uncalibrated"]["test"] == raw.metrics(catalogue.domains)
    assert run.evaluate("test", "all_domains") == measured["test"]

    rows = pd.read_parquet(run.ranks_file).set_index("user_id")
    rows["rank"] = pd.Series(ranks.ranks, [user.decode() for user in ranks.user_ids])
    histories = dict(zip(rows.index, map(list, rows["history"]), strict=True))
    table = run.recommend(histories, k=10)
    assert set(table.groupby("user_id").size()) == {10} and table["domain"].nunique() > 1
    assert (table.groupby("user_id")["score"].agg(lambda x: np.exp(x).sum()) <= 1).all()
    places = table.set_index(["user_id", "item_id"])["rank"]
    hits = 0
    for row in rows.itertuples():
        place = places.get((row.Index, row.item_id))
        assert place == place_of(row)
        # What a user had already is ranked, and recommended to nobody.
        hits += place is not None or (row.item_id in row.history and row.rank <= 10)
    assert hits / len(rows) == measured["test"]["overall"]["hr@10"] > 0.1


def test_domains_are_compared_by_what_validation_said(made):
    """And by nothing else: fitted once more, on validation alone, the mixture stays as it is."""
    run = tf_syncrec.load(made[0].directory)
    before = [weight.numpy() for weight in run.model.mixture.weights]
    for weight in run.model.mixture.weights:
        weight.assign(weight * 0 + 1)
    batches = evaluation_batches(run.data(), "validation", run.config.evaluate.batch_size)
    fit_mixture(run.model, run.catalogue, batches, lambda line: None)
    for fitted_then, again in zip(before, run.model.mixture.weights, strict=True):
        np.testing.assert_allclose(fitted_then, again, atol=1e-3)
        assert fitted_then.std() > 0.01


def test_shapes_of_histories_and_domains(made):
    run = made[0]
    items = [str(item) for item in run.catalogue.item_ids[:3]]
    frame = pd.DataFrame({"user_id": ["a", "b", "a"], "item_id": [items[0], items[1], items[2]]})
    by_user = {"a": [items[0], items[2]], "b": [items[1]]}
    pd.testing.assert_frame_equal(run.recommend(frame, k=4), run.recommend(by_user, k=4))
    timed = frame.assign(timestamp=[10.0, 20.0, 30.0])  # where times have no say, nothing changes
    pd.testing.assert_frame_equal(
        run.recommend(timed, k=4, now=40), run.recommend(by_user, k=4, timestamps=[[1, 2], [3]])
    )
    pd.testing.assert_frame_equal(run.recommend(timed, k=4), run.recommend(by_user, k=4))
    for dates in ("2020-01-05", pd.Timestamp("2020-01-05T10:00:00+02:00")):
        assert not run.recommend(frame.assign(timestamp=dates), k=4).empty
    as_lists = run.recommend(list(by_user.values()), k=4)
    assert as_lists["user_id"].tolist() == [0] * 4 + [1] * 4
    several = run.recommend(by_user, ["books", "films"], k=2)
    assert several.groupby(["user_id", "domain"]).size().tolist() == [2] * 4
    every = run.recommend(by_user, k=4)
    assert (np.diff(every[every["user_id"] == "a"]["score"]) <= 0).all()
    assert run.recommend({"nobody": []}, "books", k=2)["fallback"].all()
    again = run.recommend({"a": items}, "books", k=30, exclude_seen=False)
    assert len(again) == 30 and set(items) <= set(again["item_id"])
    assert not set(items) & set(run.recommend({"a": items}, "books", k=30)["item_id"])
    assert again.head(3).equals(
        run.recommend({"a": items}, "books", k=np.int64(3), exclude_seen=False)
    )
    assert run.recommend({}).empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([["x"]], "toys"), "domain: expected one of books, .*, received 'toys'"),
        (([["x"]], "books", 0), "k: expected 1 to 100 .*, received 0"),
        (([["x"]], "books", True), "k: expected 1 to 100 .*, received True"),
        (([["x"]], "books", 2.5), "k: expected 1 to 100 .*, received 2.5"),
        ((None,), "lists of item ids by user, received None"),
        (("B0001",), "lists of item ids by user, received 'B0001'"),
        (([None],), "a list of item ids for user 0, received None"),
        ((["x", "y"],), "a list of item ids for user 0, received 'x'"),
        (({"ann": "B0001"},), "a list of item ids for user 'ann', received 'B0001'"),
        (([["x"]], ["books", "books"]), "a domain is asked for twice"),
        ((pd.DataFrame({"user": [1]}),), "columns user_id and item_id, received user"),
        (([["x"]], None, 1, None, [[1, 2]]), "timestamps: expected 1 of user 0, received 2"),
        (([["x"]], None, 1, None, [[]]), "timestamps: expected 1 of user 0, received 0"),
        (([["x"]], None, 1, None, [[1], [2]]), "timestamps: expected 1 lists, received 2"),
        (([["x"]], None, 1, None, 5), "timestamps: expected 1 lists, received 1|finite numbers"),
        (
            (pd.DataFrame({"user_id": [1], "item_id": "a", "timestamp": "noon"}),),
            "ISO 8601, received 'noon'",
        ),
        (([["x"]], None, 1, None, [["noon"]]), "timestamps of user 0: expected finite numbers"),
        (([["x"]], None, 1, None, [[np.nan]]), "timestamps of user 0: expected finite numbers"),
        (([["x"]], None, 1, None, None, 5.0), "now: say by timestamps, too"),
        (([["x"]], None, 1, None, [[1]], [1, 2]), "now: expected one time, or 1, received 2"),
        (([["x"]], None, 1, None, [[1]], "noon"), "now: expected finite numbers"),
    ],
)
def test_wrong_requests_are_refused(made, arguments, message):
    with pytest.raises(InputError, match=message):
        made[0].recommend(*arguments)


MADE_ELSEWHERE = ("syncrec", "sasrec_pair")


@pytest.mark.parametrize(
    "name",
    [
        "bprmf",
        pytest.param("sasrec", marks=pytest.mark.slow),
        *(  # tests/serving/test_exact.py looks at exports of these
            pytest.param(name, marks=pytest.mark.long)
            for name in KINDS
            if name not in (*MADE_ELSEWHERE, *OF_A_KIND)
        ),
    ],
)
def test_any_network_is_fitted_evaluated_exported_and_asked(tmp_path, name):
    run = fitted(tmp_path, output_dir=str(tmp_path / "run"), model=name, epochs=1)
    assert run.config.model.name == name == run.metrics["training"]["model"]
    loaded = tf_syncrec.load(run.directory)
    assert loaded.evaluate("test") == run.metrics["test"]
    ranks = pd.read_parquet(run.ranks_file)
    rows = ranks[ranks["domain"] == "books"]
    histories = dict(zip(rows["user_id"], map(list, rows["history"]), strict=True))
    table = loaded.recommend(histories, "books", k=10).set_index(["user_id", "item_id"])["rank"]
    for row in rows.itertuples():
        assert table.get((row.user_id, row.item_id)) == place_of(row)


def test_fit_goes_on_with_a_run_and_refuses_another(made, tmp_path):
    run = made[0]
    before = run.metrics_file.stat().st_mtime_ns
    again = tf_syncrec.fit(output_dir=str(run.directory), resume=True, verbose=False)
    assert again.metrics == run.metrics and run.metrics_file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="already holds a run"):
        fitted(tmp_path, output_dir=str(run.directory))
    with pytest.raises(InputError, match=r"expected one of syncrec, .*, received 'transformer'"):
        fitted(tmp_path, output_dir=str(tmp_path / "run"), model="transformer")
    with pytest.raises(InputError, match="unrecognized arguments: --epoch"):
        tf_syncrec.fit(epoch=3)


def test_settings_as_an_object_and_one_callback(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "export", lambda *_: None)  # half of the time
    settings = tf_syncrec.Config.model_validate(
        {
            "data": {
                "data_dir": str(tmp_path / "data"),
                "synthetic": {"users": 60, "items_per_domain": 9},
            },
            "model": {"name": "bprmf", "dim": 4},
            "train": {"epochs": 1},
        }
    )
    look = Look()
    run = tf_syncrec.fit(settings, output_dir=str(tmp_path / "run"), callbacks=look, verbose=False)
    assert run.config.model == settings.model and look.calls == ["begin", 0]
    assert repr(run) == f"Run({str(tmp_path / 'run')!r})"


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (keras.callbacks.BackupAndRestore("backup"), "received BackupAndRestore"),
        (print, "expected Keras callbacks, received <built-in function print>"),
    ],
)
def test_callbacks_are_checked_before_anything_is_written(tmp_path, callback, message):
    with pytest.raises(InputError, match=message):
        fitted(tmp_path, output_dir=str(tmp_path / "run"), callbacks=[callback])
    assert not (tmp_path / "run").exists()


def test_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match=f"--run {tmp_path}: not a finished run"):
        tf_syncrec.load(tmp_path)
    assert isinstance(tf_syncrec.Run(tmp_path), RunDirectory)
