"""A run directory is written whole, never over another, and can be recomputed from."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import Catalogue, InputError
from tf_syncrec.config import Config
from tf_syncrec.evaluation.full_ranking import Ranks
from tf_syncrec.metrics.gains import MISS, domain_metrics
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training import run_directory as run_module
from tf_syncrec.training.run_directory import RunDirectory

TINY = {"model": {"dim": 4, "experts": 2, "cross_experts": 1, "blocks": 1, "window": 4}}
CATALOGUE = Catalogue(
    ("bøger", "empty", "音楽"),
    np.array(["a,b", 'say "x"', "naïve\n", "日本", "7"], object),
    np.array([0, 0, 0, 2, 2], np.int32),
    np.array([9, 4, 1, 3, 2], np.int64),
)


def new_model(config=None):
    config = config or Config.model_validate(TINY)
    return SyNCRec.from_settings(config, dict(zip(CATALOGUE.domains, CATALOGUE.sizes, strict=True)))


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "runs" / "one")


# -------------------------------------------------------------------------------- the directory


def test_a_new_or_empty_directory_is_free(run):
    run.check_free()
    run.directory.mkdir(parents=True)
    run.check_free()
    (run.directory / "notes.txt").write_text("mine")
    run.check_free()


def test_a_run_is_not_overwritten(run):
    run.create(Config(), CATALOGUE, new_model())
    with pytest.raises(
        InputError, match=f"--output_dir {run.directory}: already holds an unfinished run"
    ):
        run.check_free()


class Killed(BaseException):
    """What nothing catches, as a kill is."""


@pytest.mark.parametrize(
    ("owner", "writes"), [(Catalogue, "save"), (run_module, "write_whole"), (Config, "save")]
)
def test_a_run_that_was_killed_before_it_began_is_in_nobodys_way(run, owner, writes, monkeypatch):
    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as moment:
        moment.setattr(owner, writes, killed)
        with pytest.raises(Killed):
            run.create(Config(), CATALOGUE, new_model())
    run.lock.release()  # as the system does for the dead
    assert not run.config_file.exists()
    assert run.resume_hint.endswith("run the same command again")
    again = RunDirectory(run.directory)
    again.check_free()
    again.create(Config(), CATALOGUE, new_model())
    assert Catalogue.load(again.catalogue_file).domains == CATALOGUE.domains
    assert again.config_file.exists()


def test_a_run_that_somebody_began_meanwhile_is_not_overwritten(run):
    other = RunDirectory(run.directory)
    run.check_free()
    other.create(Config(), CATALOGUE, new_model())
    before = other.config_file.stat().st_mtime_ns
    with pytest.raises(InputError, match="is being written by process"):
        run.create(Config(), CATALOGUE, new_model())
    other.lock.release()
    with pytest.raises(InputError, match="already holds an unfinished run"):
        run.create(Config(), CATALOGUE, new_model())
    assert other.config_file.stat().st_mtime_ns == before
    run.lock.release()


def test_what_is_left_of_a_run_without_its_settings_is_no_run_to_go_on_with(run):
    run.create(Config(), CATALOGUE, new_model())
    run.checkpoint_file.write_bytes(b"weights")
    run.config_file.unlink()
    with pytest.raises(InputError, match=r"remains of a run without config.yaml \(best") as error:
        run.check_free()
    assert "--resume" not in str(error.value)


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        RunDirectory(tmp_path / "file").check_free()
    with pytest.raises(InputError, match=r"--output_dir .*cannot be created"):
        RunDirectory(tmp_path / "file" / "below").create(Config(), CATALOGUE, new_model())


def test_what_is_created_and_trained_loads_again(run):
    config = Config.model_validate(TINY)
    model = new_model(config)
    run.create(config, CATALOGUE, model)
    model.save_weights(run.checkpoint_file)
    run.write_json(run.metrics_file, {})
    again, catalogue, loaded = run.load()
    assert again == config
    assert catalogue.domains == CATALOGUE.domains
    for name in ("item_ids", "item_domains", "counts"):
        np.testing.assert_array_equal(getattr(catalogue, name), getattr(CATALOGUE, name))
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    os.truncate(run.checkpoint_file, run.checkpoint_file.stat().st_size // 2)
    with pytest.raises(InputError, match=f"{run.directory}.*{run.checkpoint_file} cannot be read"):
        run.load()


@pytest.mark.parametrize(
    "missing", ["config_file", "catalogue_file", "checkpoint_file", "metrics_file"]
)
def test_an_incomplete_run_says_what_is_missing(run, missing):
    run.create(Config(), CATALOGUE, new_model())
    run.checkpoint_file.write_text("")
    run.metrics_file.write_text("{}")
    file: Path = getattr(run, missing)
    file.unlink()
    with pytest.raises(InputError, match=f"--run {run.directory}: .*{file.name} is missing"):
        run.load()


# --------------------------------------------------------------------------------------- metrics


def test_json_round_trip(tmp_path):
    value = {"overall": {"users": 3, "hr@5": 0.25}, "domains": {"bøger": 1}}
    RunDirectory(tmp_path).write_json(tmp_path / "metrics.json", value)
    assert json.loads((tmp_path / "metrics.json").read_text()) == value
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), np.float32(1), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path, wrong):
    file = tmp_path / "metrics.json"
    RunDirectory(tmp_path).write_json(file, {"a": 1})
    with pytest.raises((ValueError, TypeError)):
        RunDirectory(tmp_path).write_json(file, {"a": 1, "b": wrong})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


# ----------------------------------------------------------------------------------------- ranks


def random_ranks(users, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 6, users)
    return Ranks(
        user_ids=np.array([f"üser {i}".encode() for i in range(users)], object),
        domains=rng.choice([0, 2], users).astype(np.int32),
        target_ids=np.array([f"tärget {i}".encode() for i in range(users)], object),
        cold=rng.random(users) < 0.2,
        ranks=np.where(np.arange(users) % 4 == 1, MISS, rng.integers(1, 15, users)),
        history_items=rng.integers(1, 6, lengths.sum()).astype(np.int32),
        history_lengths=lengths,
        history_times=rng.normal(0, 1e9, lengths.sum()),
        target_times=rng.normal(0, 1e9, users),
        beside={"with_times": rng.integers(1, 15, users).astype(float)},
    )


@pytest.mark.parametrize(("users", "rows_per_write", "groups"), [(10, 3, 4), (9, 3, 3), (5, 99, 1)])
def test_ranks_round_trip(run, monkeypatch, users, rows_per_write, groups):
    monkeypatch.setattr(run_module, "ROWS_PER_WRITE", rows_per_write)
    run.directory.mkdir(parents=True)
    ranks = random_ranks(users)
    run.write_ranks(ranks, CATALOGUE)
    assert [path.name for path in run.directory.iterdir()] == ["test_ranks.parquet"]

    file = pq.ParquetFile(run.ranks_file)
    assert file.num_row_groups == groups
    text = pa.string()
    names = ["user_id", "domain", "item_id", "rank", "history"]
    times = ["timestamp", "history_timestamps", "rank_with_times"]
    assert file.schema_arrow.names == names + times
    assert file.schema_arrow.types[:4] == [text, text, text, pa.float64()]
    assert file.schema_arrow.types[4].value_type == text
    rows = file.read().to_pylist()
    ends = np.cumsum(ranks.history_lengths)
    for i, row in enumerate(rows):
        history = ranks.history_items[ends[i] - ranks.history_lengths[i] : ends[i]]
        assert row == {
            "user_id": f"üser {i}",
            "domain": CATALOGUE.domains[ranks.domains[i]],
            "item_id": f"tärget {i}",
            "rank": ranks.ranks[i],
            "history": [CATALOGUE.item_ids[item - 1] for item in history],
            "timestamp": ranks.target_times[i],
            "history_timestamps": list(ranks.history_times[ends[i] - len(history) : ends[i]]),
            "rank_with_times": ranks.beside["with_times"][i],
        }
    assert len(rows) == users

    frame = pd.read_parquet(run.ranks_file)
    assert [list(history) for history in frame["history"]] == [row["history"] for row in rows]
    # The promise of the file: everything can be recomputed from it, by the formulas alone.
    assert MISS in ranks.ranks and ranks.ranks.min() <= 10
    found, rank = ranks.metrics(CATALOGUE.domains)["overall"], frame["rank"]
    assert found["hr@10"] == pytest.approx((rank <= 10).mean())
    assert found["ndcg@10"] == pytest.approx(((rank <= 10) / np.log2(1 + rank)).mean())
    assert found["mrr"] == pytest.approx((1 / rank).mean())
    names = list(CATALOGUE.domains)
    domains = np.array([names.index(name) for name in frame["domain"]])
    assert domain_metrics(frame["rank"].to_numpy(), domains, names) == ranks.metrics(names)


def test_ranks_without_any_history(run):
    run.directory.mkdir(parents=True)
    ranks = random_ranks(3)
    none = {"history_lengths": np.zeros(3, int), "history_times": np.zeros(0)}
    ranks = Ranks(**vars(ranks) | none | {"history_items": np.zeros(0, np.int32)})
    run.write_ranks(ranks, CATALOGUE)
    assert pq.read_table(run.ranks_file)["history"].to_pylist() == [[], [], []]
