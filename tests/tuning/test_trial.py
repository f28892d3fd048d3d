"""Trials that are trainings: tiny networks on a small log."""

import json
import os
import signal

import numpy as np
import pytest
import yaml

from tests.test_fit import write_log
from tf_syncrec import pipeline
from tf_syncrec.cli import prepare_data
from tf_syncrec.fit import main as fit
from tf_syncrec.training.initial import item_vectors
from tf_syncrec.tuning import search
from tf_syncrec.tuning.study import Running
from tf_syncrec.utils.stopping import Stopped

TRIALS, EPOCHS = 3, 2


class WithoutTest:
    """A dataset whose test split is not there."""

    def __init__(self, prepared):
        self._prepared = prepared

    def __getattr__(self, name):
        return getattr(self._prepared, name)

    def as_dataset(self, split):
        assert split != "test", "a trial reads the test split"
        return self._prepared.as_dataset(split)


pytestmark = pytest.mark.slow  # real trainings


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A real tuning whose trials cannot read the test split, and one that was stopped twice."""
    folder = tmp_path_factory.mktemp("tuned")
    options = [
        *("--dataset", "interactions", "--path", str(write_log(folder / "log.csv", users=40))),
        *("--data_dir", str(folder / "data"), "--model", "bprmf", "--epochs", str(EPOCHS)),
        *("--set", "model.dim=4", "--set", "train.batch_size=16", "--set", "model.neighbours=2"),
        *("--tune", str(TRIALS), "--quiet"),
    ]
    decomposed: list[int] = []
    vectors_of = item_vectors.item_vectors

    def counted(prepared, dim, seed):
        decomposed.append(dim)
        return vectors_of(prepared, dim, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "prepare_data", lambda config: WithoutTest(prepare_data(config)))
        patch.setattr(pipeline, "export", lambda *_: None)
        patch.setattr(pipeline, "write_report", lambda *_: folder / "report.html")
        patch.setattr(item_vectors, "item_vectors", counted)
        fit([*options, "--output_dir", str(folder / "run")])
        decompositions = len(decomposed)
        told, tell = [], Running.tell_epoch

        def stopped(self, *arguments):
            told.append(self.number)
            if len(told) in (1, 4):  # after the first epoch of the first trial, the second's last
                os.kill(os.getpid(), signal.SIGTERM)
            return tell(self, *arguments)

        patch.setattr(Running, "tell_epoch", stopped)
        for _ in range(2):
            with pytest.raises(Stopped, match=r"SIGTERM; resume with: .* --resume"):
                fit([*options, "--resume", "--output_dir", str(folder / "stopped")])
        fit([*options, "--resume", "--output_dir", str(folder / "stopped")])
    assert told == [1, 1, 2, 2, 3, 3]  # no epoch was trained twice
    return folder, decompositions


def read(run, name):
    text = (run / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def test_a_trial_is_judged_as_the_run_that_is_trained_with_its_settings(tuned):
    run = tuned[0] / "run"
    record, metrics = read(run, "tuning.json"), read(run, "metrics.json")
    chosen = record["trials"][record["chosen"] - 1]
    assert chosen["validation"] == pytest.approx(metrics["selection"]["cross_fitted"], abs=1e-6)
    history = [epoch["validation"]["ndcg@10"] for epoch in read(run, "history.json")]
    np.testing.assert_allclose(chosen["epochs"], history, atol=1e-6)
    assert len({tuple(trial["epochs"]) for trial in record["trials"]}) == TRIALS
    assert metrics["test"]["overall"]["users"] > 0  # ranked by the run, once all was chosen


def test_first_item_vectors_are_computed_once_for_all_trials(tuned):
    assert tuned[1] == 2  # and once for the run


def test_a_trial_that_is_stopped_goes_on_in_the_middle_and_ends_the_same(tuned):
    whole, stopped = (read(tuned[0] / name, "tuning.json") for name in ("run", "stopped"))
    for trial in (*whole["trials"], *stopped["trials"]):
        assert trial.pop("seconds") > 0
    assert stopped == whole
    assert read(tuned[0] / "stopped", "config.yaml") == read(tuned[0] / "run", "config.yaml")


def test_tensorboard_shows_trials_side_by_side(tuned):
    folders = sorted((tuned[0] / "run" / "tuning" / "logs").iterdir())
    assert [folder.name for folder in folders] == ["trial-001", "trial-002", "trial-003"]
    assert all(list(folder.glob("events.out.tfevents.*")) for folder in folders)
