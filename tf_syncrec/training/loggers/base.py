"""What every logger can be told."""

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RunLogger(abc.ABC):
    """Keeps settings, metrics and the report of one run somewhere.

    After an interruption a new one of the same directory goes on with the same record.

    Args:
        directory: the run directory, which exists.
    """

    def __init__(self, directory: Path):
        self.directory = directory

    @abc.abstractmethod
    def begin(self, settings: Mapping[str, Any]) -> None:
        """A training begins or goes on.

        Args:
            settings: all of them, by dotted name.
        """

    @abc.abstractmethod
    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch has ended, counted from 1; after an interruption it may come again.

        Args:
            epoch: which.
            metrics: as Keras calls them: `loss`, `val_ndcg@10`, `val_ndcg@10/DOMAIN`.
        """

    @abc.abstractmethod
    def end(self, results: Mapping[str, float], report: Path) -> None:
        """The run is finished.

        Args:
            results: of the best epoch: `test/overall/ndcg@10`, `test/domain/DOMAIN/ndcg@10`.
            report: `report.html`.
        """

    def interrupt(self) -> None:  # noqa: B027 - most have nothing to do
        """The run ends here, and may go on later."""
