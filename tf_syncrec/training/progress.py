"""How far a training is: all that decides when it ends and which epoch was best."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_syncrec.config import TrainConfig
from tf_syncrec.metrics.gains import SELECTION_METRIC


@dataclass
class Progress:
    """Epochs that are done, and how far the one after them is.

    Attributes:
        history: one dict an epoch, as in `history.json`.
        step: batches that are done of the epoch that is not in the history yet.
        seconds: what these took, before the clock was started.
        stopped: whether a callback has ended the training.
        steps_before: those the optimizer had made before the training, of an earlier run.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    stopped: bool = False
    steps_before: int = 0
    _started: float = 0.0

    @property
    def epoch(self) -> int:
        """The epoch that is being trained, counted from 0."""
        return len(self.history)

    @property
    def best(self) -> int:
        """Index of the epoch with the best validation metric, the first of equals."""
        return int(np.argmax([epoch["validation"][SELECTION_METRIC] for epoch in self.history]))

    def ended(self, config: TrainConfig, planned: int) -> bool:
        """Whether there is nothing left to train.

        Args:
            config: a `constant` rate ends after `patience` epochs without improvement.
            planned: the most epochs.
        """
        if self.stopped or self.epoch >= planned:
            return True
        if config.schedule != "constant" or not self.history:
            return False
        return self.epoch - 1 - self.best >= config.patience

    def start_clock(self) -> None:
        """Time counts from here."""
        self._started = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds of the epoch so far, those before an interruption as well."""
        return self.seconds + time.perf_counter() - self._started

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Adds an epoch to the history."""
        self.history.append(row)
        self.step, self.seconds = 0, 0.0

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "history": self.history,
            "step": self.step,
            "seconds": self.elapsed(),
            "stopped": self.stopped,
            "steps_before": self.steps_before,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Takes over what `to_json` gave."""
        self.history[:] = values["history"]
        self.step, self.seconds = values["step"], values["seconds"]
        self.stopped = values.get("stopped", False)
        self.steps_before = values.get("steps_before", 0)
