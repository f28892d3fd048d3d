"""Neither run may have learned from the rows that both are asked for."""

import datetime

import numpy as np

from data_prep import InputError, PreparedDataset
from data_prep.pipeline.times import DAY, per_second
from tf_syncrec import cli
from tf_syncrec.gate.clocks import newest_row
from tf_syncrec.run import Run


def check_unseen(name: str, learned: tuple[float, float], since: float) -> None:
    """Refuses a run that has learned from rows of the test.

    What trains and what chooses (targets of validation) has to be older than the moment. Targets of
    the run's own test are looked at when all is chosen, and may be of the rows that are asked for.

    Args:
        name: of the run, for the message.
        learned: until when it has, of `learned_until`.
        since: the moment, in the unit of the log.

    Raises:
        InputError: it has.
    """
    newest, per = learned
    if newest / per >= since / per_second(since):
        raise InputError(
            f"{name}: its training data ends at {_moment(newest, per)}, which is not before the "
            f"first target, {_moment(since, per_second(since))}: give later rows, or set the first "
            "target by --since or --unseen"
        )


def learned_until(run: Run, now: float) -> tuple[float, float]:
    """Time of the newest row that a run has learned from, and how many of its unit a second has.

    Rows of days to come are of a wrong clock, and do not count: with one of them no row would ever
    be later. The card tells the newest row alone; the data itself says which was before that, where
    it is still there, else the card's days say until when it can have been.

    Args:
        run: a finished run.
        now: seconds since 1970.

    Raises:
        InputError: nobody knows: the card is of an earlier version, and the data is gone.
    """
    times = run.read_json(run.data_card_file).get("times")
    today = int(now // DAY)
    if times:
        found = [times["newest_by_split"][split] for split in ("train", "validation")]
        newest, per = max(time for time in found if time is not None), times["per_second"]
        if newest / per < (today + 1) * DAY:
            return newest, per
    name = run.metrics["protocol"]["dataset"]
    prepared = cli.find_data(run.config, name, None)
    if prepared is None and times:
        return float(np.nextafter(newest_row(times, today), 0)) * per, per
    if prepared is None:
        raise InputError(
            f"--run {run.directory}: the end of its training data is unknown: its data card was "
            f"written by an earlier version, and its data, {name}, is gone; train it again"
        )
    return _newest_in(prepared, (today + 1) * DAY)


def _newest_in(prepared: PreparedDataset, end: float) -> tuple[float, float]:
    """Of what trains and chooses, the newest time before `end`, in seconds, and its unit."""
    newest, unit = -np.inf, 0.0
    for split in ("train", "validation"):
        for row in prepared.as_dataset(split).as_numpy_iterator():
            times = np.atleast_1d(row["timestamps" if split == "train" else "target_timestamp"])
            if not len(times):
                continue
            unit = unit or per_second(float(np.median(times)))
            times = times[times / unit < end]
            newest = max(newest, float(times.max(initial=-np.inf)))
    return newest, unit


def _moment(time: float, per: float) -> str:
    """As the log has it, and as a date where it may be one."""
    try:
        date = datetime.datetime.fromtimestamp(time / per, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time:.15g}"
    return f"{time:.15g} ({date:%Y-%m-%d %H:%M:%S})"
