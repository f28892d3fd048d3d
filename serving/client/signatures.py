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


def fit(
    known: Mapping[str, frozenset[str]],
    signature: str,
    rows: dict[str, list],
    filtered: bool,
    of_several: bool,
) -> str:
    """Makes rows of a request those that a version takes, in place.

    Times that are not known are added where it wants some, and filters that allow everything are
    left out where it has none. Of several versions, what is told for the others, users and times,
    is left out where this one does not take it.

    Args:
        known: inputs of each signature of the version.
        signature: that is to be asked.
        rows: columns of the request.
        filtered: whether they allow or deny something.
        of_several: whether the request is one of several, to versions that may differ.

    Returns:
        The signature to be asked: `top_k` in place of a `with_times` that the version has not.
    """
    if of_several and signature == "with_times" and signature not in known:
        signature = "top_k"
    takes = known.get(signature)
    if not takes:
        return signature
    if of_several:
        for name in ("user_id", "timestamps", "now"):
            if name in rows and name not in takes:
                del rows[name]
    if "allow" in rows:
        if "timestamps" in takes and "timestamps" not in rows:
            rows["timestamps"] = [[0.0] * len(row) for row in rows["items"]]
            rows["now"] = [0.0] * len(rows["items"])
        if "allow" not in takes and not filtered:
            del rows["allow"], rows["deny"]
    return signature
