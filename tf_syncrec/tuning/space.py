"""What a tuning searches: few settings, in ranges around the configuration that it begins with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pydantic

from data_prep import InputError
from tf_syncrec.comparison.grid_search import Override, read_axis
from tf_syncrec.config import Config
from tf_syncrec.models.registry import network_of
from tf_syncrec.utils.nested import flat

Space = dict[str, dict[str, Any]]
"""Of each setting, by dotted name, `{"low", "high", "log"}` or `{"values"}`; plain JSON."""
Settings = dict[str, Any]
"""Values of settings, by dotted name."""

DIGITS = 3
"""Of a number that is tried; more of them say nothing."""


def _around(name: str, lower: float, upper: float) -> Callable[[Config], dict[str, Any]]:
    """A range on a logarithmic scale, by what it begins with: that times each of two factors."""

    def of(config: Config) -> dict[str, Any]:
        now = value_of(config, name)
        return {"low": _short(now * lower), "high": _short(now * upper), "log": True}

    return of


def _dropout(config: Config) -> dict[str, Any]:
    now = config.model.dropout
    return {"low": 0.0, "high": max(0.6, now), "log": False}


SEARCHED: dict[str, Callable[[Config], dict[str, Any]]] = {
    # 0.002 and 0.006 end near one another (docs/experiments.md), and all networks but GRU4Rec chose
    # 0.006 over 0.003 where both were tried, so that the best may lie beyond (docs/results.md).
    "train.learning_rate": _around("train.learning_rate", 1 / 3, 3),
    # The default is 0.2. On ten interactions a user every network chose 0.4, on six categories all
    # but two of seven (docs/results.md): it depends on the log and on the network.
    "model.dropout": _dropout,
    # Of the default, 0.7 times is worse by far, 1.4 times is as good (docs/experiments.md).
    "model.temperature": _around("model.temperature", 0.8, 2.5),
}
"""The settings that mattered on our logs and cost no time.

Not among them: `model.dim`, `loss.negatives` and the experts, of which more is never worse, only
slower, so that validation would choose the slowest; the number of epochs and the batch, since
trials of different lengths cannot be compared epoch by epoch; and all that is fitted on validation
after the training anyway (votes, views, what people come back to). `--grid` adds any of them.
"""


def space_of(
    config: Config,
    given: Iterable[str],
    assignments: Sequence[str],
    configure: Callable[[Iterable[Override]], Config],
) -> Space:
    """What is searched.

    Args:
        config: what the tuning begins with.
        given: settings that the user has set, which are not searched.
        assignments: `--grid`, `SECTION.NAME=V1,V2` each: values to try in place of a range.
        configure: the configuration with further overrides, which refuses what `--set` would.

    Raises:
        InputError: a setting or value that cannot be tried, or nothing is left to be searched.
    """
    given, own = set(given), network_of(config.model.name).settings
    space = {name: of(config) for name, of in SEARCHED.items()}
    if config.model.similarity != "cosine":  # a dot product sets its own scale
        del space["model.temperature"]
    for assignment in assignments:
        axis = read_axis(assignment)
        name, _, source = axis[0]
        if name in given:
            raise InputError(f"{source}: {name} is given by --set as well; it is one or the other")
        if name in own:
            raise InputError(
                f"{source}: --model {config.model.name} is what it is by {name} = {own[name]!r}"
            )
        values = [value_of(configure([override]), name) for override in axis]
        # The first trial is what the tuning begins with, so that has to be among them.
        space[name] = {"values": list(dict.fromkeys([value_of(config, name), *values]))}
    found = {name: what for name, what in space.items() if name not in given}
    if not found:
        raise InputError("--tune: all settings that it searches are given by --set")
    return found


def first_points(space: Space, config: Config) -> list[Settings]:
    """What is tried before anything is learned from trials; first of all, the configuration itself.

    Then more dropout (less, where there is much), half the learning rate, and both: by default the
    four points that every network is tuned over in docs/results.md.
    """
    begin = {name: value_of(config, name) for name in space}
    others: Settings = {}
    if "low" in space.get("model.dropout", {}):
        more = begin["model.dropout"] + 0.2
        fits = more <= space["model.dropout"]["high"]
        others["model.dropout"] = _short(more if fits else begin["model.dropout"] - 0.2)
    if "low" in space.get("train.learning_rate", {}):
        others["train.learning_rate"] = _short(begin["train.learning_rate"] / 2)
    points = [begin, *(begin | {name: value} for name, value in others.items())]
    return [*points, begin | others] if len(others) > 1 else points


def shortened(settings: Mapping[str, Any], config: Config) -> Settings:
    """Numbers as they are tried and written down; those of the configuration stay as they are."""
    return {
        name: _short(value)
        if isinstance(value, float) and value != value_of(config, name)
        else value
        for name, value in settings.items()
    }


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with other values of some settings.

    Raises:
        InputError: they do not fit one another.
    """
    sections = config.model_dump()
    for name, value in settings.items():
        *parents, last = name.split(".")
        section = sections
        for parent in parents:
            section = section[parent]
        section[last] = value
    try:
        return Config.model_validate(sections)
    except pydantic.ValidationError as errors:
        message = errors.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(message) from None


def value_of(config: Config, name: str) -> Any:
    """The value of a setting, by dotted name.

    Raises:
        InputError: it is a section, or a mapping.
    """
    values = dict(flat(config.model_dump()))
    if name not in values:
        raise InputError(f"{name} is no single setting")
    return values[name]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
