"""A module that can be called like the function after which it is named.

`tf_syncrec.fit` is the module that `python -m tf_syncrec.fit` runs, and the function of that name.
With this nobody has to know which; imports from it stay as they are.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_module_callable(module: str, function: Callable[..., Any]) -> None:
    """Makes a module callable.

    Args:
      module: its `__name__`.
      function: what a call of it calls.
    """

    class CallableModule(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    found: Any = sys.modules[module]
    found.__class__ = CallableModule
    found.__signature__ = inspect.signature(function)  # what `help` and editors show
