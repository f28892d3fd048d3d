"""Tuning from the outside, with trials that are arithmetic: kills, options, what is left behind."""

import json
import math
import os
import sqlite3
from types import SimpleNamespace

import pytest
import yaml
from optuna.exceptions import StorageInternalError

import tf_syncrec
from data_prep import InputError
from tests.support.file_events import Killed, watched
from tests.support.tiny_runs import OPTIONS, stand_ins
from tf_syncrec import pipeline
from tf_syncrec.cli import run_command
from tf_syncrec.config import Config
from tf_syncrec.fit import main as fit
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.tuning import search
from tf_syncrec.tuning.study import Study
from tf_syncrec.tuning.trial import Trainer
from tf_syncrec.utils.stopping import Stopped

TRIALS, EPOCHS = 7, 6
BEGIN = {"train.learning_rate": 0.005, "model.dropout": 0.1, "model.temperature": 0.1}


def worth(config):
    """Best with the learning rate and temperature that it begins with, and a dropout of 0.3."""
    rate = math.log10(config.train.learning_rate / BEGIN["train.learning_rate"])
    heat = math.log10(config.model.temperature / BEGIN["model.temperature"])
    return 0.9 - rate**2 - heat**2 - (config.model.dropout - 0.3) ** 2


class Arithmetic:
    """Stands in for trainings.

    Attributes:
        configs: what was asked for, a trial each.
        told: epochs so far.
        at: the epoch at which something happens; None: never.
        then: what.
    """

    def __init__(self):
        self.configs: list[Config] = []
        self.told = 0
        self.at: int | None = None
        self.then: BaseException = Killed()

    def run(self, running, config, directory, log_dir):
        """In place of `Trainer.run`."""
        self.configs.append(config)
        directory.mkdir(parents=True, exist_ok=True)
        for epoch in range(EPOCHS):
            (directory / "best.weights.h5").write_text(str(epoch))
            self.told += 1
            if self.told == self.at:
                raise self.then
            if running.tell_epoch(epoch, worth(config) * (epoch + 1), epoch == EPOCHS - 1):
                return None
        return worth(config)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with stand_ins():
        yield


@pytest.fixture
def trials(monkeypatch):
    made = Arithmetic()
    monkeypatch.setattr(search, "prepare_data", pipeline.prepare_data)
    monkeypatch.setattr(
        search, "Trainer", lambda *_: SimpleNamespace(run=lambda *asked: made.run(*asked))
    )
    return made


def tune(directory, *more, trials=TRIALS):
    fit([*OPTIONS, "--tune", str(trials), "--output_dir", str(directory), *more])
    return directory


def record_of(directory):
    """What was tried, without times."""
    found = json.loads((directory / "tuning.json").read_text())
    for trial in found["trials"]:
        del trial["seconds"]
    return found


def config_of(directory, file="config.yaml"):
    return yaml.safe_load((directory / file).read_text())


def settings_of(config):
    return {
        "train.learning_rate": config["train"]["learning_rate"],
        "model.dropout": config["model"]["dropout"],
        "model.temperature": config["model"]["temperature"],
    }


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: fit(arguments))
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(error.splitlines()) == 1, error
    return error


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tuning that nothing disturbed, what it asked for, and how many events of files it had."""
    made, run = Arithmetic(), tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "prepare_data", pipeline.prepare_data)
        patch.setattr(search, "Trainer", lambda *_: made)
        with watched(run) as watch:
            tune(run)
    assert {trial["state"] for trial in record_of(run)["trials"]} == {"finished", "pruned"}
    return SimpleNamespace(run=run, configs=made.configs, events=watch.seen)


# ------------------------------------------------------------------------- what it does and leaves


def test_the_first_trial_is_the_default_and_the_run_has_the_settings_of_the_best(whole):
    run, record = whole.run, record_of(whole.run)
    assert record["trials"][0]["settings"] == BEGIN
    assert settings_of(config_of(run, "tuning/config.yaml")) == BEGIN
    assert len(record["trials"]) == record["trials_asked"] == TRIALS
    finished = [trial for trial in record["trials"] if trial["state"] == "finished"]
    best = max(finished, key=lambda trial: trial["validation"])
    assert record["chosen"] == best["number"] and best["validation"] > finished[0]["validation"]
    assert settings_of(config_of(run)) == best["settings"]
    for trial, config in zip(record["trials"], whole.configs, strict=True):
        assert settings_of(config.model_dump()) == trial["settings"]
    # In nothing else.
    assert config_of(run) | {"model": 0, "train": 0} == config_of(run, "tuning/config.yaml") | {
        "model": 0,
        "train": 0,
    }


def test_a_reader_of_the_metrics_sees_that_settings_were_tuned(whole, tmp_path):
    record, said = record_of(whole.run), tf_syncrec.load(whole.run).metrics["tuning"]
    best = record["trials"][record["chosen"] - 1]
    assert said["trials"] == TRIALS == said["finished"] + said["pruned"] + said["failed"]
    assert said["pruned"] == sum(trial["state"] == "pruned" for trial in record["trials"])
    assert said["chosen"] == record["chosen"] and said["settings"] == best["settings"]
    assert said["validation"] == best["validation"]
    assert said["validation_of_first"] == record["trials"][0]["validation"]
    other = tmp_path / "other"
    fit([*OPTIONS, "--output_dir", str(other)])
    assert "tuning" not in tf_syncrec.load(other).metrics
    assert not (other / "tuning").exists()


def test_no_checkpoint_of_a_trial_is_left(whole):
    assert sorted(os.listdir(whole.run / "tuning")) == ["config.yaml", "optuna.db"]


def test_one_line_a_trial_with_the_time_that_is_left(tmp_path, trials, capsys):
    options = [option for option in OPTIONS if option != "--quiet"]
    fit([*options, "--tune", "3", "--output_dir", str(tmp_path / "run")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    for line in lines:
        for part in ("train.learning_rate=", "NDCG@10 0.", "best 0.", "6 epochs", " s left"):
            assert part in line
    assert "NDCG@10 0.8600, best 0.8600 (trial 1)" in lines[0]


def test_what_the_user_has_set_is_not_searched(tmp_path, trials):
    run = tune(tmp_path / "run", "--set", "model.dropout=0.3", trials=6)
    record = record_of(run)
    assert record["space"].keys() == {"train.learning_rate", "model.temperature"}
    assert {config.model.dropout for config in trials.configs} == {0.3}
    assert config_of(run)["model"]["dropout"] == 0.3


def test_a_grid_is_searched_too(tmp_path, trials):
    run = tune(tmp_path / "run", "--grid", "loss.negatives=8,16", trials=12)
    tried = [config.loss.negatives for config in trials.configs]
    assert tried[0] == 64 and set(tried) == {64, 8, 16}
    assert record_of(run)["space"]["loss.negatives"] == {"values": [64, 8, 16]}


def test_python_asks_for_it_by_the_same_name(tmp_path, trials):
    run = tf_syncrec.fit(
        dataset="synthetic",
        model="bprmf",
        epochs=1,
        settings={"model.dim": 2, "model.dropout": 0.2},
        tune=2,
        output_dir=tmp_path / "run",
        verbose=False,
    )
    assert run.metrics["tuning"]["trials"] == 2
    assert "model.dropout" not in run.metrics["tuning"]["settings"]


def test_one_trial_is_the_default(tmp_path, trials):
    run = tune(tmp_path / "run", trials=1)
    assert settings_of(config_of(run)) == BEGIN


def test_a_loss_that_is_no_number_is_a_trial_that_failed(tmp_path, trials):
    trials.at, trials.then = 1, FloatingPointError("the loss is nan")
    record = record_of(tune(tmp_path / "run", trials=3))
    assert [trial["state"] for trial in record["trials"]] == ["failed", "finished", "finished"]
    assert record["chosen"] != 1


def test_nothing_is_trained_when_no_trial_could_be(tmp_path, trials, monkeypatch):
    def fails(*_):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(trials, "run", fails)
    with pytest.raises(FloatingPointError, match="none of 2 trials could be trained"):
        tune(tmp_path / "run", trials=2)
    assert not (tmp_path / "run" / "config.yaml").exists()


# --------------------------------------------------------------------------------- interruptions


def ends_as(whole, directory):
    assert record_of(directory) == record_of(whole.run)
    assert config_of(directory) == config_of(whole.run)
    assert (directory / "report.html").exists()
    assert sorted(os.listdir(directory / "tuning")) == ["config.yaml", "optuna.db"]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45, 0.7, 0.95])
def test_killed_at_any_event_of_a_file_it_goes_on_as_if_it_had_not_been(
    whole, tmp_path, trials, share
):
    directory = tmp_path / "run"
    with watched(directory, 1 + int(share * whole.events)), pytest.raises(Killed):
        tune(directory)
    RunDirectory(directory).lock.release()
    tune(directory, "--resume")
    ends_as(whole, directory)


def test_killed_in_one_trial_after_the_other_it_goes_on_as_if_it_had_not_been(
    whole, tmp_path, trials
):
    directory, begun = tmp_path / "run", []
    for _ in range(3):  # in the second epoch of the next trial
        trials.told, trials.at, trials.then = 0, EPOCHS + 2, Killed()
        with pytest.raises(Killed):
            tune(directory, "--resume")
        RunDirectory(directory).lock.release()
        begun.append(len(trials.configs))
    assert begun == [2, 4, 6]  # one whole trial and the beginning of the next, each time
    trials.at = None
    fit(["--resume", "--quiet", "--output_dir", str(directory)])
    ends_as(whole, directory)


def test_stopped_by_a_signal_it_says_how_to_go_on(whole, tmp_path, trials, capsys):
    directory = tmp_path / "run"
    trials.at, trials.then = 9, Stopped(RunDirectory(directory).resume_hint)
    with pytest.raises(Stopped):
        tune(directory)
    assert "--resume" in RunDirectory(directory).resume_hint
    refusal = refused([*OPTIONS, "--tune", "7", "--output_dir", str(directory)], capsys)
    assert "already holds an unfinished run" in refusal and "--resume" in refusal
    fit(["--resume", "--quiet", "--output_dir", str(directory)])
    ends_as(whole, directory)


def test_the_number_of_trials_may_change_until_the_best_is_trained(
    whole, tmp_path, trials, capsys, monkeypatch
):
    directory = tmp_path / "run"
    trials.at, trials.then = 9, Killed()
    with pytest.raises(Killed):
        tune(directory, trials=3)
    monkeypatch.setattr(pipeline, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tune(directory, "--resume", trials=TRIALS)
    there = ["--resume", *OPTIONS, "--output_dir", str(directory)]
    assert "trials of" in refused([*there, "--tune", "9"], capsys)
    monkeypatch.undo()
    fit([*there, "--tune", str(TRIALS)])
    ends_as(whole, directory)
    fit([*there, "--tune", str(TRIALS)])  # finished: nothing is left to do
    ends_as(whole, directory)


def test_a_disk_that_is_full_is_told_in_one_line(whole, tmp_path, trials):
    directory = tmp_path / "run"

    def full(*_):
        raise StorageInternalError from sqlite3.OperationalError("database or disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "tell", full)
        with pytest.raises(Stopped, match=r"cannot be written \(database or disk is full.*--re"):
            tune(directory)
    fit(["--resume", "--quiet", "--output_dir", str(directory)])
    ends_as(whole, directory)


# ---------------------------------------------------------------------------------- what is refused


def test_options_that_say_something_else_than_the_tuning_was_begun_with(tmp_path, trials, capsys):
    directory = tmp_path / "run"
    trials.at, trials.then = 9, Killed()
    with pytest.raises(Killed):
        tune(directory)
    there = ["--resume", *OPTIONS, "--tune", "7", "--output_dir", str(directory)]
    assert "was begun with model.dim = 2" in refused([*there, "--set", "model.dim=3"], capsys)
    fixed = refused([*there, "--set", "model.dropout=0.1"], capsys)
    assert "was begun with another search of model.dropout" in fixed
    grid = refused([*there, "--grid", "loss.negatives=8"], capsys)
    assert "was begun with another search of loss.negatives" in grid


def test_options_that_do_not_go_with_it(tmp_path, trials, capsys):
    there = ["--output_dir", str(tmp_path / "run")]
    done = tune(tmp_path / "done", trials=1)
    assert "--grid model.dim=2,3: goes with --tune N" in refused(
        [*OPTIONS, *there, "--grid", "model.dim=2,3"], capsys
    )
    for wrong in ("0", "-3", "many", "1.5"):
        assert "a whole number from 1" in refused([*OPTIONS, *there, "--tune", wrong], capsys)
    earlier = ["--quiet", "--init_from", str(done), *there, "--tune", "3"]
    assert "--tune 3: not with --init_from" in refused(earlier, capsys)
    workers = ["--workers", "127.0.0.1:1,127.0.0.1:2", "--worker_index", "0"]
    assert "--tune 3: not with 2 workers" in refused(
        [*OPTIONS, *there, "--tune", "3", *workers], capsys
    )
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_without_it(tmp_path, trials, capsys, monkeypatch):
    directory = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit([*OPTIONS, "--output_dir", str(directory)])
    there = ["--resume", *OPTIONS, "--output_dir", str(directory)]
    assert "was begun without it" in refused([*there, "--tune", "3"], capsys)


def test_data_that_have_changed_since(tmp_path, trials, monkeypatch):
    directory = tmp_path / "run"
    trials.at, trials.then = 9, Killed()
    with pytest.raises(Killed):
        tune(directory)
    other = pipeline.prepare_data(Config())
    changed = SimpleNamespace(name="another", data_card=other.data_card)
    monkeypatch.setattr(search, "prepare_data", lambda config: changed)
    with pytest.raises(InputError, match="the data has changed since the tuning was begun"):
        fit(["--resume", "--quiet", "--output_dir", str(directory)])


def test_the_trainer_is_the_product_s():
    """What stands in above is called as this is."""
    assert search.Trainer is Trainer


def test_a_file_of_trials_that_is_damaged(tmp_path, trials, capsys):
    directory = tmp_path / "run"
    trials.at, trials.then = 9, Killed()
    with pytest.raises(Killed):
        tune(directory)
    RunDirectory(directory).lock.release()
    (directory / "tuning" / "optuna.db").write_bytes(b"no database " * 100)
    said = refused(["--resume", "--output_dir", str(directory)], capsys)
    assert "optuna.db cannot be read" in said
