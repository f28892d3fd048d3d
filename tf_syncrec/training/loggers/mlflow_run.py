"""`--log mlflow`: a run of MLflow, in its local store unless MLFLOW_TRACKING_URI names another."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.files import write_whole
from tf_syncrec.training.loggers.base import RunLogger

EXPERIMENT = "syncrec"
"""Unless MLFLOW_EXPERIMENT_NAME says another."""

_AT_ONCE = 100  # Parameters that MLflow takes in one call.
_LONGEST = 6000  # Characters of a value of one.


class MlflowRun(RunLogger):
    """Writes by MLflow's client.

    MLflow's own Keras callback gives it names such as `val_ndcg@10`, which it refuses and drops.
    """

    def __init__(self, directory: Path):
        super().__init__(directory)
        import mlflow

        self._client = mlflow.MlflowClient()
        self._id_file = directory / "mlflow_run_id.txt"
        self._id = self._id_file.read_text().strip() if self._id_file.exists() else None

    def begin(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param
        from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

        if self._id is not None:
            self._client.update_run(self._id, status="RUNNING")
            return
        name = MLFLOW_EXPERIMENT_NAME.get() or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run = self._client.create_run(experiment, run_name=self.directory.name)
        self._id = run.info.run_id
        write_whole(self._id_file, f"{self._id}\n")
        self._client.set_tag(self._id, "run_directory", str(self.directory.absolute()))
        params = [Param(metric_name(key), str(v)[:_LONGEST]) for key, v in settings.items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._id, params=params[start : start + _AT_ONCE])

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._log(metrics, epoch)

    def end(self, results: Mapping[str, float], report: Path) -> None:
        self._log(results, 0)
        self._client.log_artifact(self._id, str(report))
        self._client.set_terminated(self._id, "FINISHED")

    def interrupt(self) -> None:
        if self._id is not None:
            self._client.set_terminated(self._id, "KILLED")

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(metric_name(name), value, now, step) for name, value in metrics.items()]
        for start in range(0, len(found), _AT_ONCE):
            self._client.log_batch(self._id, metrics=found[start : start + _AT_ONCE])


def metric_name(name: str) -> str:
    """A name that MLflow takes: `val_ndcg@10/Home & Kitchen` is `val_ndcg_at_10/Home _ Kitchen`."""
    parts = re.sub(r"[^\w\- ./]", "_", name.replace("@", "_at_")).split("/")
    # It is a path, in which `..` would lead elsewhere.
    return "/".join(part if part.strip(".") else "_" * max(len(part), 1) for part in parts)
