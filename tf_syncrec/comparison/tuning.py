"""The same tuning for every network: trials with the first seed, the best on validation is chosen.

A trial is the cell of a model's first seed without its test ranks: nobody looks at test before the
choice is made. The trial that is chosen becomes that cell, all its training done.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_syncrec.comparison.cells import Cell, Settings
from tf_syncrec.comparison.names import ModelName
from tf_syncrec.config import Config
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.utils.tables import flat

Trials = dict[tuple[ModelName, str | None], list[Cell]]
"""Of each network (of a single-domain model: each domain), what is tried."""


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
        for domain in domains if model.single else [None]:
            trials[model, domain] = [Cell(model, seeds[0], domain, settings) for settings in own]
    return trials


def choose(root: Path, trials: Trials) -> dict[tuple[ModelName, str | None], Cell]:
    """The best finished trial of each network (and domain) on validation; of equals, the first."""
    return {
        place: max(own, key=lambda trial: validation_metric(root, trial))
        for place, own in trials.items()
    }


def validation_metric(root: Path, trial: Cell) -> float:
    """What decides: validation NDCG@10 of a finished trial."""
    return trial.validation(root)["validation"]["overall"][SELECTION_METRIC]


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
