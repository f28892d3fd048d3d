"""Files that are there whole or not at all."""

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Writes a text file aside and renames it in, so that nobody meets half of it."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
