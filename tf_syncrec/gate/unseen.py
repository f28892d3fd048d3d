"""Neither run may have learned from the rows that both are asked for."""

import datetime

import numpy as np

from data_prep import InputError
from data_prep.pipeline.times import per_second
from tf_syncrec import cli
from tf_syncrec.run import Run


def check_unseen(name: str, run: Run, since: float) -> None:
    """Refuses a run that has learned from rows of the test.

    What trains and what chooses (targets of validation) has to be older than the moment. Targets of
    the run's own test are looked at when all is chosen, and may be of the rows that are asked for.

    Args:
        name: of the run, for the message.
        run: a finished run.
        since: the moment, in the unit of the log.

    Raises:
        InputError: it has, or nobody knows.
    """
    newest, per = learned_until(run)
    if newest / per >= since / per_second(since):
        raise InputError(
            f"{name}: learned from rows up to {_moment(newest, per)}, which is not before the "
            f"first row that is asked for, {_moment(since, per_second(since))}: give later rows, "
            "or say from when on rows of --test count by --since"
        )


def learned_until(run: Run) -> tuple[float, float]:
    """Time of the newest row that a run has learned from, and how many of its unit a second has."""
    card = run.read_json(run.data_card_file)
    if times := card.get("times"):
        found = [times["newest_by_split"][split] for split in ("train", "validation")]
        return max(time for time in found if time is not None), times["per_second"]
    # The card is of an earlier version: the data itself says it, where it is still there.
    name = run.metrics["protocol"]["dataset"]
    prepared = cli.find_data(run.config, name, None)
    if prepared is None:
        raise InputError(
            f"--run {run.directory}: nobody knows how new the rows are that it learned from: its "
            f"data card is of an earlier version, and its data, {name}, is gone; train it again"
        )
    newest = -np.inf
    for row in prepared.as_dataset("train").as_numpy_iterator():
        newest = max(newest, float(row["timestamps"].max(initial=-np.inf)))
    for row in prepared.as_dataset("validation").as_numpy_iterator():
        newest = max(newest, float(row["target_timestamp"]))
    return newest, per_second(newest)


def _moment(time: float, per: float) -> str:
    """As the log has it, and as a date where it may be one."""
    try:
        date = datetime.datetime.fromtimestamp(time / per, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time:.15g}"
    return f"{time:.15g} ({date:%Y-%m-%d %H:%M:%S})"
