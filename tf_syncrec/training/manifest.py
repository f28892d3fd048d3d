"""Sizes and checksums of files, so that one that is no longer what was written is noticed."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path

from data_prep.files import write_whole

NAME = "files.json"
_AT_ONCE = 1 << 20


def seal(folder: Path, files: Iterable[Path]) -> None:
    """Writes down what the files of a folder are, in a file called `NAME` in it."""
    found = {str(file.relative_to(folder)): _fingerprint(file) for file in files}
    write_whole(folder / NAME, json.dumps(found))


def damage(folder: Path, files: Iterable[Path] | None = None) -> str | None:
    """What is wrong with a folder that was sealed.

    Args:
        folder: of the manifest.
        files: those to look at, of which some may not be sealed; None: all that are.

    Returns:
        The first file that is missing or is not what was written, in words; None: there is none.
    """
    try:
        sealed = json.loads((folder / NAME).read_text())
        wanted = [str(file.relative_to(folder)) for file in files] if files else list(sealed)
        for name in wanted:
            if name in sealed and _fingerprint(folder / name) != sealed[name]:
                return f"{name} is not what was written, says {NAME}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (ValueError, AttributeError, TypeError) as error:
        return f"{NAME} cannot be read: {error}"
    return None


def _fingerprint(file: Path) -> list[int]:
    """Size and CRC-32."""
    size, crc = 0, 0
    with open(file, "rb") as content:
        while block := content.read(_AT_ONCE):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
