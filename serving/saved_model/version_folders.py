"""Versions of a SavedModel on disk: folders with numbers for names, which come and go whole."""

import contextlib
import os
from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from stat import S_ISDIR

from data_prep import InputError
from data_prep.files import flush, folder_aside, remove_leftovers, remove_partial, to_disk
from serving.saved_model.in_use import unused

LARGEST = 2**63 - 1
"""TF Serving's versions are int64."""


def list_versions(export_dir: Path) -> dict[int, Path]:
    """Directories that TF Serving takes for versions: those with a number for a name; ascending.

    Of several names of one number, 7 and 007, the shortest counts.

    Raises:
        InputError: it cannot be read; where there is none, there are no versions.
    """
    try:
        names = os.listdir(export_dir)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise InputError(f"--export_dir {export_dir}: cannot be read ({error.strerror})") from None
    found = {
        int(name): export_dir / name
        for name in sorted(names, key=len, reverse=True)
        if _is_number(name)
        and os.path.isdir(export_dir / name)  # Path.is_dir raises for some links
    }
    return dict(sorted(found.items()))


def newest_version(export_dir: Path) -> Path:
    """The version that is served, of a directory that has some.

    Raises:
        InputError: it has none.
    """
    versions = list(list_versions(export_dir).values())
    if not versions:
        raise InputError(
            f"{export_dir}: holds no exported version; python -m serving.export writes one"
        )
    return versions[-1]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) <= LARGEST


def contents(version: Path) -> Hashable:
    """What changes with the files of a version: names, sizes and times, of its folders as well.

    What cannot be read, such as a file that goes in this moment or a link to nowhere, is told by
    its error.
    """
    found: dict[str, Hashable] = {}
    _look_into(str(version), (), found)
    return tuple(sorted(found.items()))


def _look_into(path: str, above: tuple, found: dict[str, Hashable]) -> None:
    try:
        stat = os.stat(path)
        # The time of change as well: a copy may bring the time of writing along.
        found[path] = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        place = stat.st_dev, stat.st_ino
        if S_ISDIR(stat.st_mode) and place not in above:  # a link to a folder above goes round
            for name in os.listdir(path):
                _look_into(os.path.join(path, name), (*above, place), found)
    except OSError as error:
        found[path] = str(error)


def add_version(export_dir: Path, write: Callable[[Path], None]) -> Path:
    """Writes the next version; any number of processes may do so at a time.

    A server watching the directory never finds half a model: what was written aside is renamed at
    the end, if all went well, to the number that is free then.

    Args:
        export_dir: directory of the versions.
        write: makes the folder it is given, and all in it.

    Returns:
        The folder of the version.

    Raises:
        InputError: there is no higher number.
    """
    export_dir.mkdir(parents=True, exist_ok=True)
    _next_number(export_dir, 0)
    remove_partial(export_dir)
    with folder_aside(export_dir, "version") as aside:
        new = aside / "version"
        write(new)
        to_disk(new)
        number = 0
        while True:
            number = _next_number(export_dir, number)
            version = export_dir / str(number)
            try:
                new.rename(version)
            except OSError:
                if os.path.lexists(version):  # another export was quicker, or it is a link
                    continue
                raise
            flush(export_dir)
            return version


def _next_number(export_dir: Path, passed: int) -> int:
    """The one after all that are there, and after those that were passed over."""
    number = max(passed, *list_versions(export_dir), 0) + 1
    if number > LARGEST:
        raise InputError(
            f"--export_dir {export_dir}: has version {LARGEST}, and TensorFlow Serving knows no "
            "higher number"
        )
    return number


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
    found = list_versions(export_dir)
    old = {number: path for number, path in list(found.items())[:-keep] if number not in labelled}
    # A version may be a link to another one: both stay.
    staying = {path.resolve() for number, path in found.items() if number not in old}
    used = []
    # Links before what they lead to: one to nowhere would lie there for ever.
    for number, path in sorted(old.items(), key=lambda item: (not item[1].is_symlink(), -item[0])):
        if path.resolve() in staying and not path.is_symlink():
            continue
        # Gone already, or something else by now.
        gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with gone, unused(path) as free:
            if not free:
                used.append(number)
                continue
            with folder_aside(export_dir, path.name, ".deleted") as leaving:
                path.rename(leaving / path.name)
    return sorted(used)
