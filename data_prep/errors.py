"""The one error that means: what the user gave cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line that names the file, line, column or option, says what was received
    and what to do about it. Command lines print it as it is and exit with status 2; any other
    exception is a bug and keeps its traceback.
    """
