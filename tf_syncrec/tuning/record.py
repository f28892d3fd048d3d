"""What is written down of a tuning (`tuning.json`), and said of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_syncrec.config import Config
from tf_syncrec.tuning.space import Settings, Space, shortened
from tf_syncrec.tuning.states import FINISHED, STATES, Tried

Row = dict[str, Any]
"""A trial, as `tuning.json` has it."""


def record_of(
    asked: int, space: Space, dataset: str, config: Config, tried: Sequence[Tried]
) -> dict[str, Any]:
    """What `tuning.json` says.

    Args:
        asked: how many trials are wanted.
        space: what is searched.
        dataset: name of the prepared data.
        config: what the tuning begins with.
        tried: trials that have begun.

    Returns:
        `{"metric", "dataset", "trials_asked", "space", "trials": [{"number", "state", "settings",
        "validation", "epochs", "seconds"}], "chosen"}`: of a trial that has finished, `validation`
        is what it is chosen by; `epochs` says what validation said of the network after each;
        `chosen` is the number of the best so far, or none.
    """
    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "settings": shortened(trial.drawn, config),
            "validation": trial.value,
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 2),
        }
        for trial in tried
    ]
    best = best_of(rows)
    return {
        "metric": "validation ndcg@10, of users on whom nothing was fitted; test was not looked at",
        "dataset": dataset,
        "trials_asked": asked,
        "space": space,
        "trials": rows,
        "chosen": best and best["number"],
    }


def best_of(rows: Sequence[Row]) -> Row | None:
    """The finished trial that is best on validation, the first of equals; None: none has."""
    finished = [row for row in rows if row["state"] == FINISHED]
    return max(finished, key=lambda row: row["validation"], default=None)


def summary_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `metrics.json` says of a tuning that has ended: how many trials chose the settings."""
    rows, best = record["trials"], best_of(record["trials"])
    assert best is not None, "a run is trained once a trial has finished"
    return {
        "trials": len(rows),
        **{state: sum(row["state"] == state for row in rows) for state in STATES},
        "chosen": best["number"],
        "settings": best["settings"],
        "validation": best["validation"],
        "validation_of_first": rows[0]["validation"],
    }


def line_of(record: Mapping[str, Any]) -> str:
    """The last trial in one line, with the best so far and the time that is left."""
    rows, asked = record["trials"], record["trials_asked"]
    row, best = rows[-1], best_of(rows)
    place = f"trial {row['number']:>{len(str(asked))}}/{asked}"
    epochs = f"{len(row['epochs'])} epoch{'s' if len(row['epochs']) != 1 else ''}"
    if row["state"] == FINISHED:
        found = f"NDCG@10 {row['validation']:.4f}"
    else:
        at = f" at {row['epochs'][-1]:.4f}" if row["epochs"] else ""
        found = f"{row['state']}{at}"
    so_far = f"best {best['validation']:.4f} (trial {best['number']})" if best else "no best yet"
    parts = [found, so_far, epochs, f"{row['seconds']:.0f} s", f"{_left(rows, asked)} left"]
    return f"{place}  {text_of(row['settings'])}  {', '.join(parts)}"


def text_of(settings: Settings) -> str:
    """Settings as `--set` takes them."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _left(rows: Sequence[Row], asked: int) -> str:
    """About how long the trials take that are left, and the training of the best."""
    full = [row["seconds"] for row in rows if row["state"] == FINISHED]
    every = [row["seconds"] for row in rows]
    mean = sum(every) / len(every)
    seconds = mean * (asked - len(rows)) + (max(full) if full else mean)
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
