"""What is tried next, and what is given up: trials that are arithmetic."""

import math

import pytest

from tf_syncrec.tuning.space import Space
from tf_syncrec.tuning.states import FAILED, FINISHED, PRUNED, RUNNING
from tf_syncrec.tuning.study import STARTUP, Study

SPACE: Space = {
    "rate": {"low": 0.001, "high": 0.1, "log": True},
    "dropout": {"low": 0.0, "high": 0.6, "log": False},
    "dim": {"values": [32, 64]},
}
FIRST = [
    {"rate": 0.05, "dropout": 0.1, "dim": 32},
    {"rate": 0.05, "dropout": 0.3, "dim": 32},
    {"rate": 0.03, "dropout": 0.1, "dim": 32},
    {"rate": 0.03, "dropout": 0.3, "dim": 32},
]
EPOCHS = 6


def outcome(drawn):
    """Best at a rate of 0.01 and a dropout of 0.4."""
    return 1 - math.log10(drawn["rate"] / 0.01) ** 2 - (drawn["dropout"] - 0.4) ** 2


def make(running, study, *, value=None, epochs=EPOCHS):
    """All of a trial."""
    value = outcome(running.drawn) if value is None else value
    for epoch in range(epochs):
        if running.tell_epoch(epoch, value * (epoch + 1), last=epoch == epochs - 1):
            break
    done = PRUNED if running.given_up else FINISHED
    study.tell(running, done, None if done == PRUNED else value)


def search(file, trials, seed=0):
    study = Study(file, SPACE, FIRST, seed)
    while len(study.tried) < trials:
        make(study.next(), study)
    return study.tried


def test_what_is_tried_first_is_what_was_said_and_the_rest_lies_in_the_space(tmp_path):
    tried = search(tmp_path / "optuna.db", 12)
    assert [trial.number for trial in tried] == list(range(1, 13))
    assert [trial.drawn for trial in tried[: len(FIRST)]] == FIRST
    for trial in tried:
        assert 0.001 <= trial.drawn["rate"] <= 0.1 and 0 <= trial.drawn["dropout"] <= 0.6
        assert trial.drawn["dim"] in (32, 64)


def test_trials_learn_from_those_before(tmp_path):
    """The later ones are better than what is drawn by chance: 0.62 on average."""
    tried = search(tmp_path / "optuna.db", 20)
    later = [outcome(trial.drawn) for trial in tried[10:]]
    assert sum(later) / len(later) > 0.7


def test_a_study_that_is_opened_anew_for_each_trial_makes_the_same_ones(tmp_path):
    whole = search(tmp_path / "whole.db", 9)
    for trials in range(1, 10):
        cut = search(tmp_path / "cut.db", trials)
    assert cut == whole


def test_another_seed_makes_others(tmp_path):
    one, other = search(tmp_path / "0.db", 6), search(tmp_path / "1.db", 6, seed=1)
    assert one[:4] == other[:4]
    assert one[4].drawn != other[4].drawn


@pytest.mark.parametrize("told", [0, 2, EPOCHS - 1])
def test_an_interrupted_trial_goes_on_as_the_one_that_it_is(tmp_path, told):
    whole = search(tmp_path / "whole.db", 7)
    for number in range(7):
        study = Study(tmp_path / "cut.db", SPACE, FIRST, 0)
        running = study.next()
        for epoch in range(told):
            if running.tell_epoch(epoch, outcome(running.drawn) * (epoch + 1)):
                break
        study = Study(tmp_path / "cut.db", SPACE, FIRST, 0)
        assert study.tried[-1].state == RUNNING
        again = study.next()
        assert (again.number, again.drawn) == (number + 1, running.drawn)
        make(again, study)
    assert study.tried == whole


def test_a_hopeless_trial_is_given_up_after_half_of_the_epochs_and_no_other(tmp_path):
    study = Study(tmp_path / "optuna.db", SPACE, FIRST, 0)
    for _ in range(STARTUP):
        make(study.next(), study, value=0.5)
    make(study.next(), study, value=0.1)
    make(study.next(), study, value=0.6)
    *full, hopeless, good = study.tried
    assert {trial.state for trial in full} == {FINISHED}
    assert (hopeless.state, hopeless.value) == (PRUNED, None)
    assert len(hopeless.epochs) == EPOCHS // 2
    assert (good.state, good.value, len(good.epochs)) == (FINISHED, 0.6, EPOCHS)


def test_the_first_trials_are_not_given_up(tmp_path):
    study = Study(tmp_path / "optuna.db", SPACE, FIRST, 0)
    for value in (0.9, 0.1, 0.05, 0.01):
        make(study.next(), study, value=value)
    assert [trial.value for trial in study.tried] == [0.9, 0.1, 0.05, 0.01]


def test_the_last_epoch_is_not_given_up_since_nothing_is_saved_by_it(tmp_path):
    study = Study(tmp_path / "optuna.db", SPACE, FIRST, 0)
    for _ in range(STARTUP):
        make(study.next(), study, value=0.5)
    running = study.next()
    # Above what the others reached, 0.5 an epoch, until the last one.
    told = [running.tell_epoch(epoch, 2.6, epoch == EPOCHS - 1) for epoch in range(EPOCHS)]
    assert not any(told) and not running.given_up


def test_a_trial_that_failed_counts_and_teaches_nothing_wrong(tmp_path):
    study = Study(tmp_path / "optuna.db", SPACE, FIRST, 0)
    study.tell(study.next(), FAILED)
    make(study.next(), study)
    failed, finished = study.tried
    assert (failed.state, failed.value, failed.drawn) == (FAILED, None, FIRST[0])
    assert (finished.state, finished.drawn) == (FINISHED, FIRST[1])


def test_seconds_are_added_up_over_interruptions(tmp_path):
    Study(tmp_path / "optuna.db", SPACE, FIRST, 0).next().add_seconds(2.0)
    study = Study(tmp_path / "optuna.db", SPACE, FIRST, 0)
    study.next().add_seconds(3.0)
    assert study.tried[0].seconds == 5.0
