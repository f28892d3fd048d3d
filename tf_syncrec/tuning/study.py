"""What Optuna decides: what is tried next, and which trial is given up."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from data_prep import InputError
from tf_syncrec.tuning.space import Settings, Space
from tf_syncrec.tuning.states import FAILED, FINISHED, PRUNED, RUNNING, Tried

STARTUP = 4
"""Trials that run to their end before one is given up: the first points (`space.first_points`)."""

_CODES = {
    FINISHED: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
    RUNNING: TrialState.RUNNING,
}
_STATES = {code: state for state, code in _CODES.items()}
_SECONDS, _GIVEN_UP = "seconds", "given_up"


class Running:
    """A trial that is to be computed, or gone on with.

    Args:
        trial: Optuna's.
        known: what validation said after each epoch before it was interrupted.
    """

    def __init__(self, trial: Trial, known: int):
        self._trial, self._known = trial, known
        self.number = trial.number + 1
        self.drawn: Settings = dict(trial.params)

    def tell_epoch(self, epoch: int, value: float, last: bool = False) -> bool:
        """Writes down what validation says after an epoch; returns whether to give the trial up.

        Args:
            epoch: from 0. One that was told before an interruption keeps what was told.
            value: validation NDCG@10.
            last: whether the training ends here, so that nothing is saved by giving it up.
        """
        if epoch >= self._known:
            self._trial.report(value, epoch)
            self._known = epoch + 1
        if not last and self._trial.should_prune():
            self._trial.set_user_attr(_GIVEN_UP, True)
            return True
        return False

    @property
    def given_up(self) -> bool:
        """Whether `tell_epoch` said so, in this process or before."""
        return _GIVEN_UP in self._trial.user_attrs

    def add_seconds(self, seconds: float) -> None:
        """Counts time that was spent on it."""
        before = self._trial.user_attrs.get(_SECONDS, 0.0)
        self._trial.set_user_attr(_SECONDS, before + seconds)


class Study:
    """Trials of one tuning, in a file of Optuna's that a kill leaves whole.

    What is drawn for a trial follows from the seed, its number and the trials before it, and from
    nothing else: a tuning that is interrupted goes on as if it had not been.

    Args:
        file: SQLite; made if it is missing. The caller sees to it that no other process writes it.
        space: what is searched.
        first: what is tried first of all, in this order.
        seed: of the draws.

    Raises:
        InputError: the file is damaged.
    """

    def __init__(self, file: Path, space: Space, first: Sequence[Settings], seed: int):
        try:
            with contextlib.closing(sqlite3.connect(file)) as content:
                content.execute("PRAGMA schema_version")
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"--resume: {file} cannot be read ({error}); put it back from a copy, or begin "
                "another run"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed = space, seed
        self._study = optuna.create_study(
            storage=f"sqlite:///{file.absolute()}",
            study_name="tuning",
            direction="maximize",
            load_if_exists=True,
        )
        for point in first:
            self._study.enqueue_trial(point, skip_if_exists=True)

    def next(self) -> Running:
        """The trial that was interrupted, else a new one."""
        begun = self._begun()
        # A sampler of its own for each trial: its random state does not outlive a process.
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=1,  # what is tried first is planned
            multivariate=True,
            constant_liar=False,
            seed=self._seed * 10_000 + len(begun),
        )
        finished = [trial for trial in begun if trial.state is TrialState.COMPLETE]
        epochs = len(finished[0].intermediate_values) if finished else 0
        # The rate of a cosine falls: whoever began with a lower one is ahead in the first half, and
        # not at the end.
        self._study.pruner = optuna.pruners.MedianPruner(
            n_startup_trials=STARTUP, n_warmup_steps=max(epochs - 1, 0) // 2
        )
        for trial in begun:
            if trial.state is TrialState.RUNNING:
                known = len(trial.intermediate_values)
                return Running(_draw(Trial(self._study, trial._trial_id), self._space), known)
        return Running(_draw(self._study.ask(), self._space), 0)

    def tell(self, running: Running, state: str, value: float | None = None) -> None:
        """Ends a trial.

        Args:
            running: of `next`.
            state: one of `STATES`.
            value: what it is chosen by, of one that has finished.
        """
        self._study.tell(running.number - 1, value, _CODES[state])

    @property
    def tried(self) -> list[Tried]:
        """All trials that have begun."""
        return [
            Tried(
                trial.number + 1,
                _STATES[trial.state],
                dict(trial.params),
                trial.value if trial.state is TrialState.COMPLETE else None,
                [value for _, value in sorted(trial.intermediate_values.items())],
                trial.user_attrs.get(_SECONDS, 0.0),
            )
            for trial in self._begun()
        ]

    def _begun(self) -> list[FrozenTrial]:
        every = self._study.get_trials(deepcopy=False)
        return [trial for trial in every if trial.state is not TrialState.WAITING]


def _draw(trial: Trial, space: Space) -> Trial:
    """Gives a trial its values; one that has them keeps them."""
    for name, what in space.items():
        if "values" in what:
            trial.suggest_categorical(name, what["values"])
        else:
            trial.suggest_float(name, what["low"], what["high"], log=what["log"])
    return trial
