"""What `fit --log` leaves in CSV files, in MLflow and in Weights & Biases."""

import csv
import sys

import pytest

from data_prep import InputError
from tf_syncrec import fit
from tf_syncrec.config import Config
from tf_syncrec.schema import TrainConfig
from tf_syncrec.training.loggers import all_loggers
from tf_syncrec.training.loggers.all_loggers import LOGGERS, Loggers, results_of
from tf_syncrec.training.loggers.base import RunLogger
from tf_syncrec.training.loggers.installed import NEEDS, check_installed
from tf_syncrec.training.loggers.mlflow_run import metric_name

ROW = {"users": 2, "ndcg@10": 0.25}
METRICS = {
    "test": {"overall": ROW, "domains": {"Home & Kitchen": ROW}},
    "validation": {"overall": ROW, "domains": {}},
    "negative_transfer": {"books": {"lambda": 1.5, "gap": -0.25}},
    "training": {"epochs": 2, "command": "python"},
}
RESULTS = {
    "validation/overall/users": 2.0,
    "validation/overall/ndcg@10": 0.25,
    "test/Home & Kitchen/users": 2.0,
    "test/Home & Kitchen/ndcg@10": 0.25,
    "test/overall/users": 2.0,
    "test/overall/ndcg@10": 0.25,
    "negative_transfer/books/lambda": 1.5,
    "negative_transfer/books/gap": -0.25,
    "training/epochs": 2.0,
}


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A run directory with a report, below an empty working directory."""
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "shop"
    found.mkdir()
    (found / "report.html").write_text("<html>")
    return found


def logged(name, directory):
    """A run that is interrupted in its second epoch, which is trained again, and ends."""
    settings = Config().resolved()
    with pytest.raises(KeyboardInterrupt), Loggers([name], directory, settings, print) as loggers:
        loggers.on_epoch_end(0, {"loss": 4, "val_ndcg@10": 0.125})
        loggers.on_epoch_end(1, {"loss": 3, "val_ndcg@10": 0.0625})
        raise KeyboardInterrupt
    with Loggers([name], directory, settings, print) as loggers:
        loggers.on_epoch_end(1, {"loss": 2, "val_ndcg@10": 0.25})
        loggers.end(METRICS, directory / "report.html")


def test_results_are_named_by_split_and_domain():
    assert dict(results_of(METRICS)) == RESULTS


def test_csv_files_have_each_epoch_once(directory):
    logged("csv", directory)
    with (directory / "epochs.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "1", "loss": "4.0", "val_ndcg@10": "0.125"},
            {"epoch": "2", "loss": "2.0", "val_ndcg@10": "0.25"},
        ]
    with (directory / "results.csv").open(newline="") as file:
        found = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert found == RESULTS


def test_a_logger_that_fails_is_told_of_once_and_the_others_go_on(directory, monkeypatch):
    class Broken(RunLogger):
        def begin(self, settings):
            assert settings["model.dim"] == 64

        def log_epoch(self, epoch, metrics):
            raise OSError("the server\nis gone")

        def end(self, results, report):
            raise AssertionError("nobody asks it any more")

    monkeypatch.setitem(all_loggers.LOGGERS, "broken", Broken)
    said: list[str] = []
    with Loggers(["broken", "csv"], directory, Config().resolved(), said.append) as loggers:
        for epoch in range(2):
            loggers.on_epoch_end(epoch, {"loss": 1.0})
        loggers.end(METRICS, directory / "report.html")
    assert said == ["--log broken: logging stopped: the server is gone"]
    assert len((directory / "epochs.csv").read_text().splitlines()) == 3
    assert (directory / "results.csv").exists()


def test_a_logger_that_cannot_begin_ends_the_run_in_one_line(directory, monkeypatch):
    def broken(directory):
        raise OSError("no such\nserver")

    monkeypatch.setitem(all_loggers.LOGGERS, "broken", broken)
    with pytest.raises(InputError, match=r"^--log broken: cannot begin: no such server$"):
        Loggers(["csv", "broken"], directory, {}, print)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_what_is_not_installed_is_told_before_anything_is_done(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    run = tmp_path / "run"
    expected = rf"--log {name}: {name} is not installed; pip install 'tf_syncrec\[{name}\]'"
    with pytest.raises(InputError, match=expected):
        fit(dataset="synthetic", log=["csv", name], output_dir=run, verbose=False)
    assert not run.exists()


def test_a_folder_of_earlier_runs_is_not_taken_for_the_library(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(InputError, match="wandb is not installed"):
        check_installed(["wandb"])


def test_every_logger_can_be_asked_for():
    offered = TrainConfig.model_json_schema()["properties"]["log"]["items"]["enum"]
    assert offered == list(LOGGERS) == list(NEEDS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val_ndcg@10", "val_ndcg_at_10"),
        ("val_hr@5/Home & Kitchen", "val_hr_at_5/Home _ Kitchen"),
        ("val_mrr/../..", "val_mrr/__/__"),
        ("val_mrr/a//b", "val_mrr/a/_/b"),
        ("val_mrr/Bücher: neu", "val_mrr/Bücher_ neu"),
    ],
)
def test_names_are_those_that_mlflow_takes(name, expected):
    assert metric_name(name) == expected
    validation = pytest.importorskip("mlflow.utils.validation", reason="MLflow is not installed")
    validation._validate_metric_name(expected)


@pytest.mark.slow
def test_mlflow_has_one_run_with_all_of_it(directory, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    store = f"sqlite:///{directory.parent}/mlflow.db"
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", store)
    logged("mlflow", directory)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("syncrec")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "shop")
    assert run.data.params["model.dim"] == "64"
    epochs = client.get_metric_history(run.info.run_id, "val_ndcg_at_10")
    assert {found.step: found.value for found in epochs} == {1: 0.125, 2: 0.25}
    assert run.data.metrics["test/Home _ Kitchen/ndcg_at_10"] == 0.25
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


@pytest.mark.slow
def test_wandb_writes_it_offline(directory, monkeypatch):
    pytest.importorskip("wandb.sdk", reason="Weights & Biases is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged("wandb", directory)
    parts = sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(parts) == 2 and parts[0].name == parts[1].name  # one run, in two parts
    first, second = (file.read_bytes() for file in parts)
    assert b"val_ndcg@10" in first and b"0.0625" in first and b"model" in first
    assert b"test/overall/ndcg@10" in second and b"report.html" in second
