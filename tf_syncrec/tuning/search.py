"""A tuning from top to bottom: trials one after the other, each a line, and what they choose."""

import contextlib
import shutil
from typing import Any

from optuna.exceptions import StorageInternalError

from data_prep import InputError
from tf_syncrec.cli import prepare_data, say
from tf_syncrec.config import Config
from tf_syncrec.distributed.cluster import Cluster
from tf_syncrec.distributed.replicas import strategy_of
from tf_syncrec.training.resuming import reraise_full_disk
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.tuning.options import Tuning
from tf_syncrec.tuning.record import best_of, line_of, record_of, text_of
from tf_syncrec.tuning.space import first_points, shortened, with_settings
from tf_syncrec.tuning.states import FAILED, FINISHED, PRUNED, STATES
from tf_syncrec.tuning.study import Running, Study
from tf_syncrec.tuning.trial import Trainer
from tf_syncrec.utils.stopping import Stopped, StopRequests


def tune(
    config: Config, run: RunDirectory, tuning: Tuning, begun: bool, cluster: Cluster | None
) -> Config:
    """Makes the trials that are left, and returns the configuration that validation chose.

    The run is locked from here on, unless an error is raised.

    Args:
        config: what the tuning begins with, and its first trial is.
        run: where it is written: `tuning.json`, and `tuning/`, which goes on after a kill.
        tuning: what is asked for.
        begun: whether it is gone on with.
        cluster: of `cluster_of`.

    Raises:
        InputError: what was given cannot be used.
        Stopped: by a signal or a full disk; what was reached is kept.
        FloatingPointError: no trial could be trained.
    """
    if cluster is not None and len(cluster.addresses) > 1:
        raise InputError(
            f"--tune {tuning.trials}: not with {len(cluster.addresses)} workers; tune with one, "
            "then train with its config.yaml as --config"
        )
    with reraise_full_disk(run), contextlib.ExitStack() as unless_done:
        prepared = prepare_data(config)
        unless_done.callback(run.lock.release)
        run.tuning_dir.mkdir(parents=True, exist_ok=True)
        run.lock.acquire()
        if not run.config_file.exists():  # else the best is being trained
            if not begun:
                run.check_free()
            strategy = strategy_of(config.train.strategy, config.train.on_nan, report=say)
            with StopRequests(lambda: run.resume_hint) as stop:
                trainer = Trainer(config, prepared, strategy, stop, say)
                try:
                    _Trials(config, run, tuning, prepared.name, trainer).run()
                except StorageInternalError as error:  # of SQLite, a full disk is no OSError
                    raise Stopped(
                        f"{run.directory}: the trials cannot be written ({error.__cause__}); what "
                        f"was written before is complete; {run.resume_hint}"
                    ) from error
        best = best_of(run.read_json(run.tuning_file)["trials"])
        if best is None:
            raise FloatingPointError(
                f"{run.directory}: none of {tuning.trials} trials could be trained; try a smaller "
                "--set train.learning_rate"
            )
        unless_done.pop_all()
        return with_settings(config, best["settings"])


class _Trials:
    """The trials of a run.

    Args:
        config: what the tuning begins with.
        run: where it is written.
        tuning: what is asked for.
        dataset: name of the prepared data.
        trainer: of trials.

    Raises:
        InputError: the data is not that of the trials that were made before.
    """

    def __init__(
        self, config: Config, run: RunDirectory, tuning: Tuning, dataset: str, trainer: Trainer
    ):
        self._config, self._run, self._tuning = config, run, tuning
        self._dataset, self._trainer = dataset, trainer
        file = run.tuning_dir / "optuna.db"
        if not run.tuned:
            file.unlink(missing_ok=True)  # of one that was killed before it had begun
        elif (there := run.read_json(run.tuning_file)["dataset"]) != dataset:
            raise InputError(
                f"--resume: the data has changed since the tuning was begun: that was {there}, "
                f"this is {dataset}; begin another run"
            )
        first = first_points(tuning.space, config)
        self._study = Study(file, tuning.space, first, config.train.seed)
        self._write()
        if not run.tuned:
            config.save(run.first_config_file)  # last: a tuning that has it can go on

    def run(self) -> None:
        """Makes those that are left, and says which one is best."""
        record = self._record()
        ended = sum(row["state"] in STATES for row in record["trials"])
        if ended:
            say(f"{ended} of {self._tuning.trials} trials were finished before.")
        for _ in range(self._tuning.trials - ended):
            self._one()
            record = self._write()
            say(line_of(record))
        self._remove_checkpoints()
        if best := best_of(record["trials"]):
            say(
                f"Chosen: trial {best['number']} of {len(record['trials'])}, "
                f"{text_of(best['settings'])}, which is trained now."
            )

    def _one(self) -> None:
        """One trial, from where it was interrupted."""
        running = self._study.next()
        name = f"trial-{running.number:03}"
        self._remove_checkpoints(but=name)
        directory, logs = self._run.tuning_dir / name, self._run.tuning_dir / "logs" / name
        settings = shortened(running.drawn, self._config)
        try:
            config = with_settings(self._config, settings)
        except InputError as error:
            self._fail(running, error)
            return
        try:
            value = self._trainer.run(running, config, directory, logs)
        except FloatingPointError as error:
            self._fail(running, error)
            return
        self._study.tell(running, PRUNED if value is None else FINISHED, value)

    def _fail(self, running: Running, error: Exception) -> None:
        say(f"trial {running.number} failed: {error}")
        self._study.tell(running, FAILED)

    def _record(self) -> dict[str, Any]:
        asked, space = self._tuning
        return record_of(asked, space, self._dataset, self._config, self._study.tried)

    def _write(self) -> dict[str, Any]:
        record = self._record()
        self._run.write_json(self._run.tuning_file, record)
        return record

    def _remove_checkpoints(self, but: str = "") -> None:
        """Of trials that have ended."""
        for folder in self._run.tuning_dir.glob("trial-*"):
            if folder.name != but:
                shutil.rmtree(folder)
