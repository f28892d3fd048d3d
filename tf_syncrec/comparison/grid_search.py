"""Grid search: what `--grid` names is tried for every network, validation chooses.

Trials are trained with the first seed of their model. A trial is the cell of that seed without its
test ranks: nobody looks at test before the choice is made. The trial that is chosen becomes that
cell, all its training done.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import InputError
from tf_syncrec.comparison.cells import Cell, Settings
from tf_syncrec.comparison.names import ModelName, Place
from tf_syncrec.config import Config, parse_value
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.utils.nested import flat

SECTIONS = ("model", "loss", "negative_transfer", "train")
"""Sections of the configuration whose settings can be tried."""

Override = tuple[str, Any, str]

Trials = dict[tuple[ModelName, Place], list[Cell]]
"""Of each network (of a single-domain model: each domain), what is tried."""


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
    axes = [read_axis(assignment) for assignment in assignments]
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


def read_axis(assignment: str) -> list[Override]:
    """The values of one setting, each an override.

    Args:
        assignment: `SECTION.NAME=V1,V2`.

    Raises:
        InputError: it is none, or the setting cannot be tried.
    """
    source = f"--grid {' '.join(assignment.split())}"
    name, separator, texts = assignment.partition("=")
    if not separator or not name:
        raise InputError(f"--grid takes section.name=value,value, received {assignment!r}")
    section = name.partition(".")[0]
    unknown = section in Config.model_fields and section not in SECTIONS
    if name in ("train.seed", "model.name") or unknown:
        raise InputError(
            f"{source}: a grid takes settings of {', '.join(SECTIONS)}; data and evaluation are "
            "the same for all, seeds are those of --seeds, networks those of --models, RecBole's "
            "models are not tuned"
        )
    return [(name, parse_value(name, text, source), source) for text in texts.split(",")]


def trials_of(
    plan: Mapping[ModelName, Sequence[int]], domains: Sequence[str], points: Sequence[Settings]
) -> Trials:
    """The trials of every network that our training script trains; none without points.

    Args:
        plan: the seeds of each model.
        domains: of the dataset.
        points: of the grid.
    """
    trials: Trials = {}
    for model, seeds in plan.items():
        if model.network is None or not points:
            continue
        # What makes the network what it is cannot be tried, so that points may coincide.
        own = dict.fromkeys(
            tuple(pair for pair in point if pair[0] not in model.network.settings)
            for point in points
        )
        for domain in model.places(domains):
            trials[model, domain] = [Cell(model, seeds[0], domain, settings) for settings in own]
    return trials


def choose(root: Path, trials: Trials) -> dict[tuple[ModelName, Place], Cell]:
    """The best finished trial of each network (and domain) on validation; of equals, the first."""
    return {
        place: max(own, key=lambda trial: validation_metric(root, trial))
        for place, own in trials.items()
    }


def validation_metric(root: Path, trial: Cell) -> float:
    """What decides: validation NDCG@10 of a finished trial, of users whom no vote was fitted on."""
    found = trial.validation(root)
    return found.get("cross_fitted", found["validation"]["overall"][SELECTION_METRIC])


def tuning_report(
    root: Path, trials: Trials, cells: Sequence[Cell], names: Sequence[str], config: Config
) -> dict[str, Any]:
    """What was tried and what was chosen.

    Args:
        root: directory of the comparison.
        trials: all of them finished.
        cells: what is compared; a trial that is among them was chosen.
        names: settings of the grid.
        config: what all models share.

    Returns:
        `{model: {"seed", "seconds", "trials": [{"domain", "settings", "validation", "stand_in",
        "chosen"}]}}`: the seed of the trials, the seconds of them all, and of each of them the
        settings of the grid, validation NDCG@10 and whether popularity stood in.
    """
    shared = dict(flat(config.model_dump()))
    found: dict[str, Any] = {}
    for (model, domain), own in trials.items():
        assert model.network is not None
        row = found.setdefault(model.text, {"seed": own[0].seed, "seconds": 0.0, "trials": []})
        for trial in own:
            outcome = trial.validation(root)
            row["seconds"] += outcome["cost"]["seconds"]
            values = shared | dict(trial.settings) | model.network.settings
            row["trials"].append(
                {
                    "domain": domain,
                    "settings": {name: values[name] for name in names},
                    "validation": validation_metric(root, trial),
                    "stand_in": outcome["stand_in"],
                    "chosen": trial in cells,
                }
            )
    return found
