"""What the model takes that is being served, so that it is asked by all that it takes."""

import time
from collections.abc import Mapping

from serving.client.answers import read_signatures
from serving.client.connection import Connection, ServingError

SECONDS = 60.0
"""After which the server is asked anew: another version may take something else."""


class Signatures:
    """Inputs of each signature, as the server's metadata have them; threads may share it.

    Args:
        connection: what asks.
        url: of the model.
    """

    def __init__(self, connection: Connection, url: str):
        self._connection = connection
        self._url = url + "/metadata"
        self._known: Mapping[str, frozenset[str]] | None = None
        self._until = 0.0

    def inputs(self) -> Mapping[str, frozenset[str]]:
        """`{signature: names of its inputs}`.

        Raises:
            ServingError: the server does not say, and has not said before.
        """
        if self._known is None or time.monotonic() >= self._until:
            try:
                self._read()
            except ServingError:
                if self._known is None:
                    raise
                self._until = time.monotonic() + 1.0
        assert self._known is not None
        return self._known

    def changed(self) -> bool:
        """Asks anew, and tells whether another version takes something else now.

        Raises:
            ServingError: the server does not say.
        """
        before = self._known
        self._read()
        return self._known != before

    def _read(self) -> None:
        self._known = read_signatures(self._connection.call("GET", self._url))
        self._until = time.monotonic() + SECONDS
