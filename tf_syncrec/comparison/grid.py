"""The grid of a comparison: settings to try for every network, as `--grid` names them."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from data_prep import InputError
from tf_syncrec.comparison.cells import Settings
from tf_syncrec.config import Config, parse_value
from tf_syncrec.utils.tables import flat

SECTIONS = ("model", "loss", "negative_transfer", "train")
"""Sections of the configuration whose settings can be tried."""

Override = tuple[str, Any, str]


def read_grid(
    assignments: Sequence[str], configure: Callable[[Iterable[Override]], Config]
) -> tuple[list[str], list[Settings]]:
    """All points of a grid: the product of the values of each setting.

    Args:
        assignments: `SECTION.NAME=V1,V2`, one for each setting.
        configure: the configuration with further overrides, see `config.load`.

    Returns:
        Names of the settings, and the points in the order of the values as they were given. A point
        says only what it changes in the configuration without a grid, sorted by name: one and the
        same setting is then the same point of every grid, and of none.

    Raises:
        InputError: a setting or a value that `--set` would refuse, alone or with the others of its
            point; one that cannot be tried; one that is named twice.
    """
    if not assignments:
        return [], []
    axes = [_axis(assignment) for assignment in assignments]
    names = [axis[0][0] for axis in axes]
    for name, axis in zip(names, axes, strict=True):
        if names.count(name) > 1:
            raise InputError(f"{axis[0][2]}: {name} is given twice, one takes all values")
    base = dict(flat(configure(()).model_dump()))
    points = []
    tried: dict[str, set] = {name: set() for name in names}
    for overrides in itertools.product(*axes):
        values = dict(flat(configure(overrides).model_dump()))
        for name, _, source in overrides:
            if name not in base:
                raise InputError(f"{source}: {name} is no single setting")
            tried[name].add(values[name])
        points.append(
            tuple((name, values[name]) for name in sorted(names) if values[name] != base[name])
        )
    for name, axis in zip(names, axes, strict=True):
        if len(tried[name]) < len(axis):
            raise InputError(f"{axis[0][2]}: a value is given twice")
    return names, points


def _axis(assignment: str) -> list[Override]:
    """The values of one setting, each an override."""
    source = f"--grid {' '.join(assignment.split())}"
    name, separator, texts = assignment.partition("=")
    if not separator or not name:
        raise InputError(f"--grid takes section.name=value,value, received {assignment!r}")
    section = name.partition(".")[0]
    if name == "train.seed" or (section in Config.model_fields and section not in SECTIONS):
        raise InputError(
            f"{source}: a grid takes settings of {', '.join(SECTIONS)}; data and evaluation are "
            "the same for all, seeds are those of --seeds, RecBole's models are not tuned"
        )
    return [(name, parse_value(text, source), source) for text in texts.split(",")]
