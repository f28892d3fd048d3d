"""What the local server takes on."""

from dataclasses import dataclass

BACKLOG = 256
"""Connections that are taken at a time."""


@dataclass(frozen=True)
class Limits:
    """Of all requests, and of one.

    Attributes:
        body: bytes of a request.
        active: predictions at a time; further ones are told to come again.
        rows: rows of a batch.
        history: items of a history, or elements of any row.
        connections: open ones; for a further one, the one goes that has waited longest.
        head_seconds: how long the head of a request may take to arrive.
        body_seconds: how long its body may.
        idle_seconds: how long a connection may be silent between two requests.
        answer_seconds: how long an answer may wait to be read.
    """

    body: int = 4 * 2**20
    active: int = 64
    rows: int = 256
    history: int = 10_000
    connections: int = 1000
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: int = 30
    answer_seconds: float = 60.0
