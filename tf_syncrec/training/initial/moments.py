"""What the optimizer of an earlier run knew of each weight, for a training that goes on from it."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from data_prep import InputError
from tf_syncrec.config import Config
from tf_syncrec.models.axes import Axis, Origins, axes_of, carried
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.optimizers import optimizer_of, state_of
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils.hdf5 import OPTIMIZER, load


def carried_moments(
    run: RunDirectory,
    earlier: MultiDomainModel,
    model: MultiDomainModel,
    config: Config,
    origins: Origins,
    report: Callable[[str], None],
) -> list[np.ndarray] | None:
    """Moments that a new training begins with, by raw id as the weights are.

    Rows that are new, such as those of new items, have the mean of the squared gradients of those
    that are known, no momentum, and were last read now. The steps that were made are counted on, as
    Adam's correction of its first steps is not needed again.

    Args:
        run: the earlier one.
        earlier: its network.
        model: the new one.
        config: of the new run.
        origins: of `warm_start.origins_of`.
        report: told whether there are any.

    Returns:
        Of each variable of `state_of` the optimizer; None where the moments begin anew.

    Raises:
        InputError: the file is damaged.
    """
    file, name = run.optimizer_file, config.train.optimizer
    if not file.exists():
        report(
            "The earlier run did not keep its optimizer's moments (train.keep_optimizer); they "
            "start from zero."
        )
        return None
    if (other := run.load_config().train.optimizer) != name:
        report(f"The earlier run was trained with {other}; the moments start from zero.")
        return None
    run.check_whole(file)
    olds = [np.zeros(each.shape, each.dtype) for each in _variables(name, earlier)]
    try:
        load(file, {OPTIMIZER: olds})
    except ValueError as error:
        raise InputError(f"--init_from {run.directory}: {file.name}: {error}") from error
    axes = axes_of(model, lambda network: [tuple(v.shape) for v in _variables(name, network)])
    steps = int(olds[0])
    report(f"The optimizer's moments are carried over, after {steps:,} steps.")
    return [
        carried(old, _of_new(variable, old, found, origins, steps), found, origins)
        for variable, old, found in zip(_variables(name, model), olds, axes, strict=True)
    ]


def _variables(name: str, network: MultiDomainModel) -> Sequence[keras.Variable]:
    """What such an optimizer would keep of a network."""
    optimizer = optimizer_of(name, 0.0)
    optimizer.build(network.trainable_weights)
    return state_of(optimizer)


def _of_new(
    variable: keras.Variable,
    old: np.ndarray,
    axes: dict[int, Axis],
    origins: Origins,
    steps: int,
) -> np.ndarray:
    """What entries have of which the earlier run knew nothing: an array of the new shape."""
    if variable.name.endswith("_last_step"):
        return np.full(variable.shape, steps, variable.dtype)
    new = np.zeros(variable.shape, variable.dtype)
    if variable.name.endswith("_velocity"):
        for axis, found in axes.items():
            places = found.places(origins[found.kind])
            old = old.take(places[places >= 0], axis)
        new[...] = old.mean(tuple(axes), keepdims=True) if axes and old.size else 0
    return new
