"""When a version was exported: in the version, since files that are copied have other times."""

import datetime
from pathlib import Path

FILE = Path("assets.extra") / "exported_at"
"""One line of text, ISO 8601; `assets.extra` is where files lie that no loader looks at."""


def write_export_time(version: Path) -> None:
    """Notes that a version is exported now.

    Args:
        version: directory of the SavedModel.
    """
    file = version / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    file.write_text(now.isoformat(timespec="seconds") + "\n", encoding="utf-8")


def read_export_time(version: Path) -> float:
    """When a version was exported, in seconds since 1970.

    Args:
        version: directory of the SavedModel; of one that does not say so, it is the time of the
            graph's file.
    """
    try:
        text = (version / FILE).read_text(encoding="utf-8").strip()
        return datetime.datetime.fromisoformat(text).timestamp()
    except (OSError, ValueError):
        return (version / "saved_model.pb").stat().st_mtime
