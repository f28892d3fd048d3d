"""What a command tells on the way: plain lines, and on a terminal a bar of the running epoch."""

import shutil
import sys

from tqdm import tqdm  # type: ignore[import-untyped]

_told = {"quiet": False}


def be_quiet(quiet: bool) -> None:
    """Whether this process says nothing from now on; errors are told all the same."""
    _told["quiet"] = quiet


def say(message: str = "") -> None:
    """Prints a line at once, also into a pipe."""
    if not _told["quiet"]:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # A domain may have a name that the terminal cannot show: no reason to lose a run.
        print(message.encode(encoding, "backslashreplace").decode(encoding), flush=True)


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
