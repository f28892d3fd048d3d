"""A trial as it stands: what is known of it, without Optuna."""

from typing import NamedTuple

from tf_syncrec.tuning.space import Settings

FINISHED, PRUNED, FAILED, RUNNING = "finished", "pruned", "failed", "running"
STATES = (FINISHED, PRUNED, FAILED)
"""How a trial ends: trained in full; given up on the way; its loss was no number, or its settings
do not fit one another."""


class Tried(NamedTuple):
    """A trial that has begun.

    Attributes:
        number: from 1.
        state: one of `STATES`, or `RUNNING`.
        drawn: values of the space, as they were drawn.
        value: what it is chosen by; None where it has not finished.
        epochs: what validation said after each of its epochs.
        seconds: what it took.
    """

    number: int
    state: str
    drawn: Settings
    value: float | None
    epochs: list[float]
    seconds: float
