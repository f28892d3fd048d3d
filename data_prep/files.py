"""Files and folders that are there whole or not at all, and what a kill left of others.

Each is written in a folder of its own beside its place, `.NAME.XXXXXXXX.partial`, brought to the
disk and renamed. Whoever writes has that folder locked, and the lock dies with the process: a
folder that nobody has locked is left over, and goes when that name is written next.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from data_prep.errors import InputError

PARTIAL = ".partial"
_LOOK_AGAIN = 0.2  # Seconds.
_OLD = 86_400.0  # Seconds after which nobody writes into one any more, if the disk has no locks.


def local_path(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder as a user gives it, with `~` resolved.

    TensorFlow, Keras and DuckDB each know some of the stores that an address may name, and the
    rest of us none: half of a run would be in a folder called `gs:`.

    Raises:
      InputError: it is an address, such as `gs://bucket/log.csv`.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][\w+.-]*:/", text):
        raise InputError(
            f"{text}: is an address, and only files and folders of this machine are read and "
            "written; copy it here, or mount the bucket"
        )
    # Not that of a path: it takes `./~x` for a user's folder.
    found = Path(os.path.expanduser(text))
    # PyArrow takes a relative path with a colon for an address.
    return found.absolute() if ":" in text else found


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a place to write a file or a folder to, which replaces `path` at the end.

    Another name (link) of an old file keeps its content. After an error all is as it was.

    Args:
      path: where it will be; its parent exists. A folder must not be there yet.

    Yields:
      Where to write it; it has the same name.

    Raises:
      InputError: a file is to replace a folder.
      OSError: it cannot be written.
    """
    remove_leftovers(path.parent, f".{glob.escape(path.name)}.*{PARTIAL}")
    with folder_aside(path.parent, path.name) as aside:
        new = aside / path.name
        yield new
        to_disk(new)
        try:
            new.replace(path)
        except IsADirectoryError:
            raise InputError(
                f"{path}: is a folder, and a file is to be written there; move it or delete it"
            ) from None
        flush(path.parent)


@contextlib.contextmanager
def folder_aside(parent: Path, name: str, suffix: str = PARTIAL) -> Iterator[Path]:
    """A folder of this process alone, `.NAME.XXXXXXXXsuffix`, claimed, and gone at the end."""
    with contextlib.ExitStack() as at_the_end:
        while True:
            aside = Path(tempfile.mkdtemp(suffix, f".{name}.", parent))
            at_the_end.callback(shutil.rmtree, aside, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # Taken for a leftover already.
                at_the_end.enter_context(claimed(aside))
                break
        yield aside


def write_whole(path: Path, text: str) -> None:
    """Writes a text file, UTF-8, so that nobody meets half of it."""
    with written_whole(path) as new:
        new.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Marks a folder as being written, where the disk has locks.

    Raises:
      FileNotFoundError: another process has just removed it as a leftover.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if lock(descriptor) is False:
            raise FileNotFoundError(f"{folder} is being removed")
        folder.stat()
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Makes a folder, if need be, and waits until no other process is in it.

    The lock is one of the folder, so it leaves no file and dies with its process. Where the disk
    has no locks nobody waits.

    Args:
      folder: a place of all these processes; whoever is in it may remove it.
      waiting: called once, if another process is there.

    Raises:
      OSError: the folder cannot be made.
    """
    said = False
    while True:
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as at_the_end:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            at_the_end.callback(os.close, descriptor)
            while lock(descriptor) is False:
                if not said:
                    waiting()
                said = True
                time.sleep(_LOOK_AGAIN)
            # Whoever was there may have failed, and removed it.
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                at_the_end.pop_all()
                break
    try:
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(parent: Path, pattern: str, young: float = 0.0) -> None:
    """Removes folders that killed processes had `claimed`.

    Args:
      parent: where they are.
      pattern: of their names, as `Path.glob` takes it.
      young: seconds in which one may have been made and not yet claimed, where that is not
        `written_whole`, which makes another one.
    """
    for folder in parent.glob(pattern):
        with contextlib.suppress(OSError):  # Somebody else is quicker.
            age = time.time() - folder.stat().st_mtime
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                free = age > young and lock(descriptor)
                if free or (free is None and age > _OLD):
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def remove_partial(parent: Path) -> None:
    """Removes what killed processes were writing into a folder, whatever its name was to be."""
    remove_leftovers(parent, f".*.????????{PARTIAL}")


def lock(descriptor: int) -> bool | None:
    """Whether it is locked now, and not by somebody else; None where the disk has no locks."""
    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def to_disk(path: Path) -> None:
    """Has the system write what it holds of a file, or of a folder and all in it."""
    for inner in path.rglob("*") if path.is_dir() else ():
        flush(inner)
    flush(path)


def flush(path: Path) -> None:
    """Has the system write what it holds of a file, or of the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
