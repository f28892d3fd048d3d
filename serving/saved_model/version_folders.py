"""Versions of a SavedModel on disk: folders with numbers for names, which come and go whole."""

import contextlib
import os
from collections.abc import Callable, Collection, Hashable
from pathlib import Path

from data_prep.files import flush, folder_aside, remove_leftovers, remove_partial, to_disk
from serving.saved_model.in_use import unused


def list_versions(export_dir: Path) -> dict[int, Path]:
    """Directories that TF Serving takes for versions: those with a number for a name; ascending."""
    folders = export_dir.iterdir() if export_dir.is_dir() else []
    found = {
        int(path.name): path
        for path in folders
        if path.name.isascii() and path.name.isdigit() and path.is_dir()
    }
    return dict(sorted(found.items()))


def contents(version: Path) -> Hashable | None:
    """What changes with the files of a version: their names, sizes and times.

    None while that cannot be said, as where a file goes in this moment.
    """
    files = []
    try:
        for folder, _, names in os.walk(version, onerror=_tell, followlinks=True):
            for name in names:
                stat = os.stat(os.path.join(folder, name))
                # The time of change as well: a copy may bring the time of writing along.
                files.append((folder, name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    except OSError:
        return None
    return tuple(sorted(files))


def _tell(error: OSError) -> None:
    raise error


def add_version(export_dir: Path, write: Callable[[Path], None]) -> Path:
    """Writes the next version; any number of processes may do so at a time.

    A server watching the directory never finds half a model: what was written aside is renamed at
    the end, if all went well, to the number that is free then.

    Args:
        export_dir: directory of the versions.
        write: makes the folder it is given, and all in it.

    Returns:
        The folder of the version.
    """
    export_dir.mkdir(parents=True, exist_ok=True)
    remove_partial(export_dir)
    with folder_aside(export_dir, "version") as aside:
        new = aside / "version"
        write(new)
        to_disk(new)
        number = 0
        while True:
            number = max(number, *list_versions(export_dir), 0) + 1
            version = export_dir / str(number)
            try:
                new.rename(version)
            except OSError:
                if version.exists():  # another export was quicker
                    continue
                raise
            flush(export_dir)
            return version


def delete_old(export_dir: Path, keep: int, labelled: Collection[int]) -> list[int]:
    """Deletes all but the newest versions, renamed first: a server never finds half of one.

    Args:
        export_dir: directory of the versions.
        keep: how many stay.
        labelled: versions that stay however old they are.

    Returns:
        Older ones that stay since a running server has loaded or labelled them.
    """
    remove_leftovers(export_dir, ".[0-9]*.deleted")
    used = []
    for number, old in list(list_versions(export_dir).items())[:-keep]:
        if number in labelled:
            continue
        with contextlib.suppress(FileNotFoundError), unused(old) as free:  # gone already
            if not free:
                used.append(number)
                continue
            with folder_aside(export_dir, old.name, ".deleted") as leaving:
                old.rename(leaving / old.name)
    return used
