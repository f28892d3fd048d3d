"""Short names for datasets, made from everything that decides their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_digest(path: Path) -> str:
    """Returns the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Names a dataset after its settings.

    Args:
      settings: what decides the output, as plain JSON values (source files by their digest).

    Returns:
      16 hexadecimal digits: equal settings give equal names, and only those.
    """
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
