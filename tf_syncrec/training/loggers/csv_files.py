"""`--log csv`: `epochs.csv` and `results.csv` in the run directory."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_prep.files import write_whole
from tf_syncrec.training.loggers.base import RunLogger


class CsvFiles(RunLogger):
    """A row an epoch, and a row a result; each file is whole at any time.

    Keras's `CSVLogger` appends: an epoch that is trained again after a kill would be there twice.
    """

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.epochs_file = directory / "epochs.csv"
        self.results_file = directory / "results.csv"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Nothing to do: the settings are in config.yaml, beside the files."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        rows: list[dict[str, Any]] = []
        if self.epochs_file.exists():
            with self.epochs_file.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        _write(self.epochs_file, [*rows, {"epoch": epoch, **metrics}])

    def end(self, results: Mapping[str, float], report: Path) -> None:
        _write(self.results_file, [{"metric": name, "value": v} for name, v in results.items()])


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().replace("\r\n", "\n"))
