"""Tells all loggers of a run what happens; one that fails is told of, and loses no training."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from data_prep import InputError
from tf_syncrec.evaluation import by_domain
from tf_syncrec.training.loggers.base import RunLogger
from tf_syncrec.training.loggers.csv_files import CsvFiles
from tf_syncrec.training.loggers.mlflow_run import MlflowRun
from tf_syncrec.training.loggers.wandb_run import WandbRun
from tf_syncrec.utils.nested import flat

LOGGERS: dict[str, Callable[[Path], RunLogger]] = {
    "csv": CsvFiles,
    "mlflow": MlflowRun,
    "wandb": WandbRun,
}


class Loggers(keras.callbacks.Callback):
    """A callback of the training, and a context in which the run is logged.

    Args:
        names: of `LOGGERS`, those that are asked for.
        directory: the run directory, which exists.
        settings: of the run, nested as in config.yaml.
        say: told of a logger that fails.

    Raises:
        InputError: one cannot begin.
    """

    def __init__(
        self,
        names: Iterable[str],
        directory: Path,
        settings: Mapping[str, Any],
        say: Callable[[str], None],
    ):
        super().__init__()
        self._say = say
        self._loggers: dict[str, RunLogger] = {}
        try:
            for name in dict.fromkeys(names):
                self._loggers[name] = LOGGERS[name](directory)
                self._loggers[name].begin(dict(flat(settings)))
        except Exception as error:
            self._loggers.pop(name, None)
            self.interrupt()
            raise InputError(f"--log {name}: cannot begin: {_one_line(error)}") from error

    def on_epoch_end(self, epoch, logs=None):
        """Tells the metrics of the epoch."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        self._tell(lambda logger: logger.log_epoch(epoch + 1, metrics))

    def end(self, metrics: Mapping[str, Any], report: Path) -> None:
        """Tells the results, as `metrics.json` has them, and gives the report."""
        found = dict(results_of(metrics))
        self._tell(lambda logger: logger.end(found, report))
        self._loggers.clear()

    def interrupt(self) -> None:
        """Tells all that the run ends here."""
        self._tell(lambda logger: logger.interrupt())
        self._loggers.clear()

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.interrupt()  # after the end there is nobody left to tell

    def _tell(self, what: Callable[[RunLogger], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                what(logger)
            except Exception as error:
                del self._loggers[name]
                self._say(f"--log {name}: logging stopped: {_one_line(error)}")


def results_of(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`test/overall/ndcg@10` and the like, of what `metrics.json` holds."""
    for split in ("validation", "test"):
        if split in metrics:
            for name, row in by_domain(metrics[split]).items():
                yield from ((f"{split}/{name}/{metric}", float(v)) for metric, v in row.items())
    for domain, row in metrics.get("negative_transfer", {}).items():
        for name, value in row.items():
            if isinstance(value, int | float):
                yield f"negative_transfer/{domain}/{name}", float(value)
    for name, value in metrics.get("training", {}).items():
        if isinstance(value, int | float):
            yield f"training/{name}", float(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
