"""Checkpoints that are whole or not there, and the one before where the newest is damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from data_prep import InputError
from data_prep.files import remove_leftovers, written_whole
from tf_syncrec.training import manifest
from tf_syncrec.utils.stopping import Stopped

KEPT = 2
"""The newest, and one before it in case that the newest is damaged."""


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
                manifest.seal(new, sorted(new.iterdir()))
                if target.exists():  # and damaged: else the training would have gone on from it
                    shutil.rmtree(target)
        except (OSError, tf.errors.OpError) as error:
            kept = self.all()
            raise Stopped(
                f"checkpoint {target} cannot be written: {_reason(error)}; "
                + (f"the last good one is {kept[0]}" if kept else "there is none before it")
                + "; free some space, then resume with --resume"
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
            damage = manifest.damage(path)
            if damage is None:
                return path
            damaged.append(f"{path} is damaged ({damage})")
            self._report(f"Checkpoint {damaged[-1]}; trying the previous one.")
        if damaged:
            raise InputError(
                f"--resume: no checkpoint is intact: {'; '.join(damaged)}. Delete the directory to "
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


def _reason(error: OSError | tf.errors.OpError) -> str:
    text = error.strerror if isinstance(error, OSError) else error.message
    return " ".join(str(text or error).split())
