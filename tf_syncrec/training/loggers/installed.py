"""Whether what a logger needs is installed, before anything heavy is loaded."""

import importlib.util
from collections.abc import Iterable

from data_prep import InputError

NEEDS = {"csv": None, "mlflow": "mlflow", "wandb": "wandb"}
"""Values of `--log` → the module that each needs, which the extra of that name brings."""


def check_installed(names: Iterable[str]) -> None:
    """Raises `InputError` where a logger is asked for whose library is not installed."""
    for name in names:
        module = NEEDS[name]
        if module is None:
            continue
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:  # a folder `wandb`, which earlier runs leave here
            raise InputError(
                f"--log {name}: {module} is not installed; pip install 'tf_syncrec[{name}]' "
                "installs it"
            )
