"""Checkpoints that are whole or not there, and the one before where the newest is damaged."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from data_prep import InputError
from tf_syncrec.utils.stopping import Stopped

KEPT = 2
"""The newest, and one before it in case that the newest is damaged."""

_MANIFEST = "files.json"
_AT_ONCE = 1 << 20


class Checkpoints:
    """Directories `step-N` below another.

    Each is written aside, brought to the disk, and renamed in; only then are older ones removed.
    Sizes and checksums of its files are in a manifest. What a kill left half done begins with a dot
    and is removed by the next `save`.

    Args:
        directory: their parent; files in it that are no checkpoints are left alone.
        report: told about damaged ones.
    """

    def __init__(self, directory: Path, report: Callable[[str], None]):
        self.directory = directory
        self._report = report

    def all(self) -> list[Path]:
        """All of them, the newest first, damaged ones as well."""
        return sorted(self.directory.glob("step-*"), reverse=True)

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Adds one.

        Args:
            step: of the training, counted from its beginning.
            write: fills an empty directory with files.

        Returns:
            Its directory.

        Raises:
            Stopped: it could not be written, as on a full disk; those before it are still there.
        """
        target = self.directory / f"step-{step:09d}"
        partial = self._aside(target)
        try:
            self._remove_leftovers()
            partial.mkdir(parents=True)
            write(partial)
            manifest = {file.name: _fingerprint(file) for file in sorted(partial.iterdir())}
            (partial / _MANIFEST).write_text(json.dumps(manifest))
            for file in (*partial.iterdir(), partial):
                _to_disk(file)
            if target.exists():  # of the same step, and damaged: else it would have been used
                target.rename(self._aside(target, "old"))
            partial.rename(target)
            _to_disk(self.directory)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            kept = self.all()
            raise Stopped(
                f"checkpoint {target} cannot be written: {_reason(error)}; "
                + (f"the last good one is {kept[0]}" if kept else "there is none before it")
                + "; make room and go on with --resume"
            ) from error
        for old in self.all()[KEPT:]:
            old.rename(self._aside(old, "old"))
        self._remove_leftovers()
        return target

    def newest(self) -> Path | None:
        """The newest that is whole; None where there are none.

        Raises:
            InputError: there are some, and all are damaged.
        """
        damaged = []
        for path in self.all():
            damage = _damage(path)
            if damage is None:
                return path
            damaged.append(f"{path} is damaged ({damage})")
            self._report(f"Checkpoint {damaged[-1]}; looking for the one before it.")
        if damaged:
            raise InputError(
                f"--resume: no checkpoint is whole: {'; '.join(damaged)}. Delete the directory to "
                "train from the beginning"
            )
        return None

    def clear(self) -> None:
        """Removes all."""
        for path in self.all():
            path.rename(self._aside(path, "old"))
        self._remove_leftovers()

    def _aside(self, path: Path, kind: str = "partial") -> Path:
        return self.directory / f".{path.name}.{kind}"

    def _remove_leftovers(self) -> None:
        for path in self.directory.glob(".step-*"):
            shutil.rmtree(path)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        for name, fingerprint in manifest.items():
            if _fingerprint(path / name) != fingerprint:
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{_MANIFEST} cannot be read: {error}"
    return None


def _fingerprint(file: Path) -> list[int]:
    """Size and CRC-32."""
    size, crc = 0, 0
    with open(file, "rb") as content:
        while block := content.read(_AT_ONCE):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def _to_disk(path: Path) -> None:
    """Has the operating system write what it holds of a file or directory, for a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError | tf.errors.OpError) -> str:
    text = error.strerror if isinstance(error, OSError) else error.message
    return " ".join(str(text or error).split())
