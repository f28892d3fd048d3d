"""Raw logs to sequences: readers, one Ibis pipeline, and TFDS builders that serve the result.

The rooms, from the bottom: `engines`, `read`, `pipeline`, `store`; they import none of the other
packages. Importing this package loads nothing; each name is loaded when it is first asked for.
Builders are registered by `import data_prep.builders`, after which `tfds.load("synthetic")` works.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError

if TYPE_CHECKING:
    from data_prep.catalogue import Catalogue
    from data_prep.preparation import PreparedDataset, prepare

__all__ = ["Catalogue", "InputError", "PreparedDataset", "prepare"]

_HOMES = {"Catalogue": "catalogue", "PreparedDataset": "preparation", "prepare": "preparation"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"data_prep.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
