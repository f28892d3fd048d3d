"""Versions of a SavedModel on disk: folders with numbers for names, which come and go whole."""

import contextlib
import os
import shutil
from collections.abc import Collection, Hashable, Iterator
from pathlib import Path

from data_prep.files import written_whole


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


@contextlib.contextmanager
def next_version(export_dir: Path) -> Iterator[tuple[Path, Path]]:
    """The folder of the next version, and the one to write it into.

    They differ so that a server watching the directory never finds half a model: what was written
    aside is renamed at the end, and only if all went well.
    """
    export_dir.mkdir(parents=True, exist_ok=True)
    version = export_dir / str(max(list_versions(export_dir), default=0) + 1)
    with written_whole(version) as aside:
        yield version, aside


def delete_old(export_dir: Path, keep: int, labelled: Collection[int]) -> None:
    """Deletes all but the newest versions, renamed first: a server never finds half of one.

    Args:
        export_dir: directory of the versions.
        keep: how many stay.
        labelled: versions that stay however old they are.
    """
    for number, old in list(list_versions(export_dir).items())[:-keep]:
        if number not in labelled:
            leaving = export_dir / f".{old.name}.deleted"
            shutil.rmtree(leaving, ignore_errors=True)
            old.rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
