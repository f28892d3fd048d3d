"""What to do next with a run: one sentence and one command, from its numbers."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tf_syncrec.metrics.gains import SELECTION_METRIC, shown_split

EMBEDDED = "synthetic"
"""The dataset that is made up; who trained on it has a log to train on next."""


class NextStep(NamedTuple):
    """A sentence that says why, and the command."""

    why: str
    command: str


def next_step(metrics: Mapping[str, Any], run_dir: Path) -> NextStep:
    """The first of what applies: too little trained, test left out, domains hurt, ready to serve.

    Args:
        metrics: what `metrics.json` holds.
        run_dir: the run directory, as the user calls it.
    """
    run = shlex.quote(str(run_dir))
    split = shown_split(metrics)
    training = metrics.get("training", {})
    below = below_popularity(metrics)
    if below:
        few = len(below) < 4
        which = ", ".join(below) if few else f"{len(below)} domains"
        return NextStep(
            f"In {which} the popularity baseline is at least as good. Tune the settings on "
            "validation:",
            again(training, "--tune 12"),
        )
    if split == "validation":
        return NextStep(
            "The test targets were left out. When the settings are chosen, rank them:",
            f"python -m tf_syncrec.evaluate --run {run} --split test",
        )
    if hurt := with_verdict(metrics, "hurt"):
        which = ", ".join(hurt) if len(hurt) < 4 else f"{len(hurt)} domains"
        return NextStep(
            f"Check whether a separate model would be better for {which}, by training one:",
            compared(training, "--preset negative_transfer"),
        )
    return NextStep(
        "Try it out in the browser:",
        f"python -m serving.local_server --export_dir {run}/export/syncrec",
    )


def again(training: Mapping[str, Any], more: str) -> str:
    """The command of a run with another option, and without its output directory and seed."""
    words = iter(shlex.split(training.get("command", "python -m tf_syncrec.fit")))
    kept: list[str] = []
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif word.partition("=")[0] not in {*_WITH_VALUE, "--resume", "--no_test", "--quiet"}:
            kept.append(word)
    return f"{shlex.join(kept)} {more}"


def compared(training: Mapping[str, Any], more: str) -> str:
    """The command of a comparison on the data of a run, with its settings."""
    words = shlex.split(training.get("command", "python -m tf_syncrec.fit"))
    options: list[list[str]] = []
    for word in words[_MODULE_WORDS:]:
        if word.startswith("--") or not options:
            options.append([])
        options[-1].append(word)
    kept = [
        word
        for option in options
        for word in option
        if option[0].partition("=")[0] in _OF_COMPARE
        and not any("train.init_from=" in given for given in option)
    ]
    return f"{shlex.join(['python', '-m', 'tf_syncrec.compare', *kept])} {more}"


_MODULE_WORDS = 3  # python -m tf_syncrec.fit
_OF_COMPARE = (
    *("--dataset", "--raw_dir", "--release", "--categories", "--path", "--items"),
    *("--data_dir", "--engine", "--config", "--set", "--epochs"),
)
"""Options of `fit` that say which data and settings, and that `compare` has as well."""

_WITH_VALUE = ("--output_dir", "--seed", "--titles", "--init_from", "--tune")


def with_verdict(metrics: Mapping[str, Any], verdict: str) -> list[str]:
    """Domains that `compare_views` found `hurt` or `helped` by the others."""
    rows = metrics.get("views", {}).get("domains", {})
    return [name for name, row in rows.items() if row["verdict"] == verdict]


def below_popularity(metrics: Mapping[str, Any]) -> list[str]:
    """Domains in which the popularity baseline is at least as good."""
    split = shown_split(metrics)
    popularity = metrics.get("baselines", {}).get("popularity", {}).get(split, {})
    ours = metrics[split]["domains"]
    return [
        name
        for name, row in popularity.get("domains", {}).items()
        if ours.get(name, {}).get("users") and ours[name][SELECTION_METRIC] <= row[SELECTION_METRIC]
    ]
