"""What happens to files below a folder, one event after the other, and something at the n-th.

Python tells of each file that it opens, makes, renames or removes (`sys.addaudithook`) before it
does so. A process that is killed at the n-th event has done all before it and nothing after it:
from then on every event below the folder is refused, so that `finally` and `with` change nothing.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_FILES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
_CAPABILITIES = 0x20080522  # Version 3 of the structure.
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.


class Killed(BaseException):
    """What nothing catches, as a kill is."""


class Watch:
    """Counts events below a folder.

    Attributes:
        seen: how many there were.
        dead: whether the process is, as far as the folder can tell.
    """

    def __init__(self, folder: Path, moment: int | str | None, then: Callable[[], None]):
        self.seen = 0
        self.dead = False
        self._folder = str(folder)
        self._moment = moment
        self._then = then
        self._busy = False

    def hear(self, event: str, arguments: tuple) -> None:
        """An event; raises what `then` does."""
        if self._busy or not self._is_below(event, arguments):
            return
        if self.dead:
            raise Killed
        self._busy = True  # what is looked up or done here is no event
        try:
            self.seen += 1
            if self._is_now(arguments):
                self._moment = None
                self._then()
        finally:
            self._busy = False

    def _is_now(self, arguments: tuple) -> bool:
        if isinstance(self._moment, str):
            return self._moment in os.fsdecode(arguments[0])
        return self.seen == self._moment

    def kill(self) -> None:
        """Dies."""
        self.dead = True
        raise Killed

    def _is_below(self, event: str, arguments: tuple) -> bool:
        path = arguments[0]
        if isinstance(path, int) or path is None:
            return False
        path = os.fsdecode(path)
        if path.startswith("/"):
            return path.startswith(self._folder)
        at = [x for x in arguments[1:] if isinstance(x, int) and x > 2] if event != "open" else []
        with contextlib.suppress(OSError):  # not a descriptor, but a mode
            return any(os.readlink(f"/proc/self/fd/{x}").startswith(self._folder) for x in at)
        return False


_watches: list[Watch] = []


def _hook(event: str, arguments: tuple) -> None:
    if _watches and event in _FILES:
        _watches[-1].hear(event, arguments)


_hooked: list[bool] = []


@contextlib.contextmanager
def watched(folder: Path, moment: int | str | None = None, then: Any = "kill") -> Iterator[Watch]:
    """Watches a folder.

    Args:
        folder: whose events count.
        moment: number of the event, from 1, or what is in its path, the first time; None: never.
        then: what is done before it; "kill": the process is as good as dead.
    """
    if not _hooked:  # it cannot be taken back
        sys.addaudithook(_hook)
        _hooked.append(True)
    watch = Watch(folder, moment, lambda: watch.kill() if then == "kill" else then())
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Root, to whom permissions are nothing, has to obey them, as everybody else does."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    before, now = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    ctypes.memmove(now, before, ctypes.sizeof(before))
    now[0] &= ~_OVERRIDES  # of those in effect; they may be taken back
    assert libc.capset(header, now) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
