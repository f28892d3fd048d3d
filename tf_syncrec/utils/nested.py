"""Nested dictionaries as a flat list."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `("a.b", value)` for every leaf of nested dictionaries."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
