"""What a command tells on the way: plain lines, and on a terminal what it is doing just now."""

import shutil
import sys
import threading
import time
from collections.abc import Callable

from tqdm import tqdm  # type: ignore[import-untyped]

SECONDS_BETWEEN_LINES = 5.0
"""Of what is said while something long runs."""

_told = {"quiet": False}


def be_quiet(quiet: bool) -> None:
    """Whether this process says nothing from now on; errors are told all the same."""
    _told["quiet"] = quiet


def say(message: str = "") -> None:
    """Prints a line at once, also into a pipe."""
    if not _told["quiet"]:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # A domain may have a name that the terminal cannot show: no reason to lose a run.
        _stage.around(
            lambda: print(message.encode(encoding, "backslashreplace").decode(encoding), flush=True)
        )


def width() -> int | None:
    """Columns of the terminal; None where nobody looks, so that lines need not be short."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def steps_bar(description: str, total: int, initial: int) -> tqdm:
    """A bar that goes when it is closed; invisible where there is no terminal.

    Args:
        description: what stands before it.
        total: steps in all.
        initial: steps that are done.
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit="step",
        leave=False,
        file=sys.stdout,
        disable=_told["quiet"] or None,  # None: where there is no terminal
    )


class _Stage:
    """What is done just now, in a line at the foot of a terminal that goes when it is done."""

    def __init__(self):
        self._bar: tqdm | None = None
        self._lock = threading.RLock()
        self._over = threading.Event()

    def begin(self, words: str, unit: str) -> None:
        """Ends the one before; says nothing where there is no terminal, or is to be quiet."""
        self.end()
        bar = tqdm(
            desc=words,
            unit=unit,
            bar_format="{desc} ... {n_fmt} {unit}, {elapsed}" if unit else "{desc} ... {elapsed}",
            leave=False,
            file=sys.stdout,
            disable=_told["quiet"] or None,
        )
        if bar.disable:
            return
        self._bar, self._over = bar, threading.Event()
        threading.Thread(target=self._tick, args=(bar, self._over), daemon=True).start()

    def advance(self, count: int) -> None:
        """So many more are done."""
        with self._lock:
            if self._bar is not None:
                self._bar.update(count)

    def end(self) -> None:
        """Takes the line away."""
        with self._lock:
            self._over.set()
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def around(self, write) -> None:
        """Writes above the line."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            write()
            if self._bar is not None:
                self._bar.refresh()

    def _tick(self, bar: tqdm, over: threading.Event) -> None:
        while not over.wait(1.0):
            with self._lock:
                if not over.is_set():
                    bar.refresh()


_stage = _Stage()


def begin_stage(words: str, unit: str = "") -> None:
    """Shows on a terminal what is done from now on, and for how long; nothing anywhere else.

    Args:
        words: what is done.
        unit: what `advance` counts; empty: seconds alone are shown.
    """
    _stage.begin(words, unit)


def advance(count: int) -> None:
    """Counts what is done of the stage, if there is one."""
    _stage.advance(count)


def end_stage() -> None:
    """Nothing is done any more."""
    _stage.end()


class Pace:
    """Says now and then how much is done, how fast, and how long it will take.

    Args:
        total: how many there are.
        done: how many were done before.
        what: their name.
        report: told a line.
        pieces: name of what `add` counts besides, whose speed is told; None: that of themselves.
    """

    def __init__(
        self,
        total: int,
        done: int,
        what: str,
        report: Callable[[str], None],
        pieces: str | None = None,
    ):
        self._total, self._before, self._done, self._what = total, done, done, what
        self._report, self._pieces, self._counted = report, pieces, 0
        self._begun = self._said = time.perf_counter()

    def add(self, done: int, pieces: int = 0) -> None:
        """Some more are done, and so many pieces of them."""
        self._done += done
        self._counted += pieces if self._pieces else done
        now = time.perf_counter()
        if now - self._said >= SECONDS_BETWEEN_LINES or self._done == self._total:
            self._said = now
            self._report(self._line(max(now - self._begun, 1e-9)))

    def _line(self, seconds: float) -> str:
        new, ahead = self._done - self._before, self._total - self._done
        left = f", {ahead * seconds / new:,.0f} s left" if ahead and new else ""
        unit = f" {self._pieces}" if self._pieces else ""
        return (
            f"{self._done:,} of {self._total:,} {self._what}, "
            f"{self._counted / seconds:,.0f}{unit} a second{left}"
        )
