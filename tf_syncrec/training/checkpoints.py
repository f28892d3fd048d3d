"""Checkpoints that are whole or not there, and the one before where the newest is damaged."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from data_prep import InputError
from data_prep.files import remove_leftovers, written_whole
from tf_syncrec.utils.stopping import Stopped

KEPT = 2
"""The newest, and one before it in case that the newest is damaged."""

_MANIFEST = "files.json"
_AT_ONCE = 1 << 20


class Checkpoints:
    """Directories `step-N` below another; only when one is on the disk are older ones removed.

    Sizes and checksums of its files are in a manifest.

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
        try:
            self._remove_leftovers()
            self.directory.mkdir(parents=True, exist_ok=True)
            with written_whole(target) as new:
                new.mkdir()
                write(new)
                manifest = {file.name: _fingerprint(file) for file in sorted(new.iterdir())}
                (new / _MANIFEST).write_text(json.dumps(manifest))
                if target.exists():  # and damaged: else the training would have gone on from it
                    shutil.rmtree(target)
        except (OSError, tf.errors.OpError) as error:
            kept = self.all()
            raise Stopped(
                f"checkpoint {target} cannot be written: {_reason(error)}; "
                + (f"the last good one is {kept[0]}" if kept else "there is none before it")
                + "; make room and go on with --resume"
            ) from error
        for old in self.all()[KEPT:]:
            shutil.rmtree(old)
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
        for path in reversed(self.all()):
            shutil.rmtree(path)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Of any step: a training that goes on need not come by the one that was interrupted."""
        remove_leftovers(self.directory, ".step-*")


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


def _reason(error: OSError | tf.errors.OpError) -> str:
    text = error.strerror if isinstance(error, OSError) else error.message
    return " ".join(str(text or error).split())
