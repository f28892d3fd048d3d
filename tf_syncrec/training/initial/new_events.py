"""Users of whom there are new events since an earlier run, who are seen more often."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from data_prep.pipeline.times import DAY, events_by_day
from tf_syncrec.config import Config
from tf_syncrec.data.batches import Sequences, as_it_is, without_autotuning
from tf_syncrec.training.run_directory import RunDirectory

USERS_AT_ONCE = 65_536
BUCKETS = 2**62
"""Of the hash that a user is remembered by."""

FEW = 0.001
"""Part of the events, at the end of a log, that may be of wrong clocks."""


def oversample_new_events(
    prepared: Sequences, config: Config, report: Callable[[str], None]
) -> Sequences:
    """The data of a run that goes on, in which the latest window of some users stands again.

    Of those who did something since the log of the earlier run ended. What is new is a small part
    of a log, and one epoch is little for it.

    Args:
        prepared: the new data.
        config: of the new run, `train.init_from` and `train.init_repeats`.
        report: told how many users these are.
    """
    assert config.train.init_from
    if not config.train.init_repeats:
        return prepared
    earlier = RunDirectory(config.train.init_from)
    since = learned_until(earlier, config.data.split)
    if since is None:
        report("The earlier run has no end time of its log, so that all users get the same weight.")
        return prepared
    split = "test" if config.data.split == "leave_one_out" else "train"
    users = users_since(prepared, split, since)
    report(
        f"{len(users):,} users have new events: {1 + config.train.init_repeats} passes over them "
        "per epoch."
    )
    return Repeated(prepared, users, config.train.init_repeats, config.model.window)


def learned_until(earlier: RunDirectory, split: str) -> float | None:
    """When the log of a run ended, or its part that trains; None where the run does not say.

    Days with next to no events are left out at the end: a few clocks are wrong in every log.

    Args:
        earlier: the run.
        split: `data.split`, which says what trains.

    Returns:
        A time in the unit of the log.
    """
    if not earlier.data_card_file.exists():
        return None
    times = earlier.read_json(earlier.data_card_file).get("times")
    if times is None:
        return None
    newest = times["newest"] if split == "leave_one_out" else times["newest_by_split"]["train"]
    days = events_by_day(times)
    left = FEW * sum(days.values())
    for day in sorted(days, reverse=True):
        left -= days[day]
        if left < 0:
            return min(newest, (day + 1) * DAY * times["per_second"])
    return newest


def users_since(prepared: Sequences, split: str, time: float) -> np.ndarray:
    """Hashes of the users of a split whose last event is later, ascending.

    Args:
        prepared: dataset.
        split: which; of targets, their own time counts.
        time: in the unit of the log.
    """

    @as_it_is
    def last(row):
        when = row["timestamps"][-1] if split == "train" else row["target_timestamp"]
        return _hash(row["user_id"]), when

    rows = prepared.as_dataset(split).map(last).batch(USERS_AT_ONCE)
    found = [np.zeros(0, np.int64)]
    for users, when in rows.with_options(without_autotuning()).as_numpy_iterator():
        found.append(users[when > time])
    return np.unique(np.concatenate(found))


class Repeated:
    """A dataset whose training rows have the latest window of some users several times more.

    Args:
        prepared: the dataset.
        users: of `users_since`.
        times: how many times more.
        window: T, as many items are kept.
    """

    def __init__(self, prepared: Sequences, users: np.ndarray, times: int, window: int):
        self._prepared, self._users = prepared, tf.constant(users, tf.int64)
        self._times, self._window = times, window

    @property
    def catalogue(self) -> Catalogue:
        """Of the dataset."""
        return self._prepared.catalogue

    def as_dataset(self, split: str) -> tf.data.Dataset:
        """Rows of the dataset."""
        rows = self._prepared.as_dataset(split)
        if split != "train" or not len(self._users):
            return rows

        @as_it_is
        def is_one(row):
            user = _hash(row["user_id"])
            place = tf.searchsorted(self._users, user[None])[0]
            return self._users[tf.minimum(place, len(self._users) - 1)] == user

        @as_it_is
        def latest(row):
            # As many as are one window when they are cut: one more would be a window by itself.
            return row | {name: row[name][-self._window :] for name in ("items", "timestamps")}

        return rows.concatenate(rows.filter(is_one).map(latest).repeat(self._times))


def _hash(user: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(user, BUCKETS)
