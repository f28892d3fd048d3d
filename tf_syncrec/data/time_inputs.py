"""Which times of a log carry something: what `model.time_inputs=auto` tells a network."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data_prep.pipeline.times import DAY, per_second
from tf_syncrec.data.batches import USERS_AT_ONCE, Sequences

SPREAD = 0.05
"""So much of the events has to lie elsewhere than most do: of days alone, all are at midnight."""

DAYS = {"hour": 7, "weekday": 28}
"""So many days a log has to last before an hour, or a day of the week, can come again often."""

USERS = 100_000
"""So many of the training users are looked at."""


def time_inputs(setting: str | Sequence[str], prepared: Sequences) -> tuple[str, ...]:
    """What a network is told of times.

    Args:
        setting: `model.time_inputs`: `"none"`, `"auto"`, or names.
        prepared: dataset with a `train` split that has timestamps, at which `"auto"` looks.

    Returns:
        Some of `layers.times.moments.INPUTS`, in the order of a list that was given.
    """
    if setting == "none":
        return ()
    if setting != "auto":
        return tuple(setting)
    rows = prepared.as_dataset("train").map(lambda row: row["timestamps"]).take(USERS)
    parts = [(part.flat_values.numpy(), part.row_lengths().numpy()) for part in _ragged(rows)]
    if not parts:
        return ()
    times, lengths = (np.concatenate(part) for part in zip(*parts, strict=True))
    return informative(times, lengths)


def informative(times: np.ndarray, lengths: np.ndarray) -> tuple[str, ...]:
    """Which of gap, hour of the day and day of the week differ from event to event.

    Args:
        times: `[events]`, user by user, in the unit of the log.
        lengths: `[users]`, events of each.
    """
    if not len(times):
        return ()
    seconds = times / per_second(float(np.median(times)))
    later = np.ones(len(times), bool)
    later[np.cumsum(lengths[lengths > 0])[:-1]] = later[0] = False
    passed = np.diff(seconds, prepend=seconds[0])[later]
    found = ["gap"] if len(passed) and np.mean(passed > 0) >= SPREAD else []
    lasts = (seconds.max() - seconds.min()) / DAY
    phases = {
        "hour": seconds % DAY // (DAY / 24),
        "weekday": seconds // DAY % 7,
    }
    for name, phase in phases.items():
        most = np.unique(phase, return_counts=True)[1].max()
        if lasts >= DAYS[name] and 1 - most / len(phase) >= SPREAD:
            found.append(name)
    return tuple(found)


def _ragged(rows: tf.data.Dataset):
    return rows.map(lambda times: tf.cast(times, tf.float64)).ragged_batch(USERS_AT_ONCE)
