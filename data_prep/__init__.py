"""Raw logs to sequences: readers, one Ibis pipeline, and TFDS builders that serve the result.

Nothing is loaded before it is asked for, so that a command can refuse a mistake at once. TFDS
knows the builders, as in `tfds.load("synthetic")`, after `import data_prep.store.builders`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_prep.catalogue import Catalogue
    from data_prep.errors import InputError
    from data_prep.prepare import PreparedDataset, prepare

__all__ = ["Catalogue", "InputError", "PreparedDataset", "prepare"]

_PLACES = {"Catalogue": "catalogue", "InputError": "errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'data_prep' has no attribute {name!r}")
    module = importlib.import_module(f"data_prep.{_PLACES.get(name, 'prepare')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
