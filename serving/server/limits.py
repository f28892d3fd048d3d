"""What the local server takes on."""

from dataclasses import dataclass

CONNECTIONS = 1000
"""Open ones; further ones are turned away by the web server itself."""


@dataclass(frozen=True)
class Limits:
    """Of all requests, and of one.

    Attributes:
        body: bytes of a request.
        active: requests at a time; further ones are told to come again.
        rows: rows of a batch.
        history: items of a history, or elements of any row.
        body_seconds: how long the body of a request may take to arrive.
    """

    body: int = 4 * 2**20
    active: int = 64
    rows: int = 256
    history: int = 10_000
    body_seconds: float = 10.0
