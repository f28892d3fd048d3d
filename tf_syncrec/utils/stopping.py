"""How a run ends before its end: in order, with a message that says how to go on."""

import os
import signal
import sys
import threading
from collections.abc import Callable


class Stopped(Exception):
    """A run ended early through nothing that was asked wrongly; what it had reached is kept.

    Args:
        message: what happened and how to go on.
        code: exit code of the process.
    """

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


class StopRequests:
    """Turns SIGTERM and SIGINT into `Stopped`, at a moment when all is kept.

    While `waiting`, a first signal is only noted: whoever set it looks at `asked` between two
    steps. At all other times, and at a second signal, `Stopped` is raised on the spot.

    Args:
        resume_hint: gives the end of the message.
    """

    def __init__(self, resume_hint: Callable[[], str]):
        self.waiting = False
        self.asked: int | None = None
        self._resume_hint = resume_hint
        self._before: dict = {}

    def __enter__(self) -> "StopRequests":
        """Listens; Python lets only the main thread do so."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error) -> None:
        """Listens no longer."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopped(self) -> Stopped:
        """What to raise once all is kept."""
        number = self.asked or signal.SIGTERM
        # As shells count it, so that schedulers know the job is not done.
        return Stopped(
            f"stopped by {signal.Signals(number).name}; {self._resume_hint()}", 128 + number
        )

    def _hear(self, number, frame):
        again = self.asked is not None
        self.asked = number
        if again or not self.waiting:
            raise self.stopped()
        name = signal.Signals(number).name
        # No `print`: the signal may have come in the middle of one.
        os.write(
            2,
            f"{name}: stops after this computation; a second signal stops at once\n".encode(),
        )


def end_with_parent() -> None:
    """Ends this process when its standard input is closed: with its parent, however that ends."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
