"""`--log wandb`: a run of Weights & Biases; offline unless WANDB_MODE says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.files import write_whole
from tf_syncrec.training.loggers.base import RunLogger

PROJECT = "syncrec"
"""Unless WANDB_PROJECT says another."""


class WandbRun(RunLogger):
    """Writes to the folder `wandb` of the run directory, which `wandb sync` uploads.

    The library's own Keras callback is one of Keras 2, by way of `tensorflow.keras`.
    """

    def __init__(self, directory: Path):
        super().__init__(directory)
        self._id_file = directory / "wandb_run_id.txt"
        self._run: Any = None

    def begin(self, settings: Mapping[str, Any]) -> None:
        import wandb

        known = self._id_file.read_text().strip() if self._id_file.exists() else None
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.directory.name,
            dir=self.directory,
            id=known,
            resume="allow" if known and mode == "online" else None,  # offline, nobody knows it
            mode=mode,
            config=dict(settings),
            # Output stays as it is, and nobody's source is looked at.
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        write_whole(self._id_file, f"{self._run.id}\n")
        self._run.define_metric("*", step_metric="epoch")

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"epoch": epoch, **metrics})

    def end(self, results: Mapping[str, float], report: Path) -> None:
        import wandb

        self._run.summary.update(dict(results))
        artifact = wandb.Artifact(f"report-{self._run.id}", "report")
        artifact.add_file(str(report))
        self._run.log_artifact(artifact)
        self._run.finish(exit_code=0)

    def interrupt(self) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1)
