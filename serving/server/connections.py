"""Connections that make room: none may wait for its client for ever, and the oldest goes first.

uvicorn lets a connection idle between two requests for so long, and no longer. It has no time for
one that sends nothing, or half a head, or does not read its answer, and where there are too many
connections it turns away whoever comes. Here the one goes that has waited for its client longest.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server.limits import Limits

_CLIENTS_TURN = h11.IDLE, h11.SEND_BODY
"""States of a client that has more to send; h11 has a request whole after them."""


class Connection(H11Protocol):
    """One connection; `connection_type` gives the class with its limits."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()  # when it last came, or was answered
        self._to_send: asyncio.TimerHandle | None = None
        self._to_read: asyncio.TimerHandle | None = None
        self._make_room()
        self._time_client()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # which ends the time that uvicorn gives
        self._time_client()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()  # uvicorn's time for idle ones begins

    def pause_writing(self) -> None:
        super().pause_writing()
        self._to_read = self.loop.call_later(self.limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._to_read is not None:
            self._to_read.cancel()

    def _make_room(self) -> None:
        """Where there are too many, ends the one that has waited for its client longest.

        Or this one, if all the others are being answered at this moment.
        """
        if len(self.connections) <= self.limits.connections:
            return
        there = [o for o in self.connections if isinstance(o, Connection) and not o._is_going()]
        if len(there) > self.limits.connections:
            waiting = [o for o in there if o._waits_for_client()]
            min(waiting, key=lambda other: other._since, default=self).transport.abort()

    def _is_going(self) -> bool:
        return self.transport.is_closing()

    def _waits_for_client(self) -> bool:
        """Whether it has more to send, or does not read."""
        return self.conn.their_state in _CLIENTS_TURN or self.flow.write_paused

    def _time_client(self) -> None:
        """Gives a request's head its time, from its first byte; its body's is `app`'s affair."""
        answered = self.cycle is None or self.cycle.response_complete
        if self.conn.their_state not in _CLIENTS_TURN or not answered:
            self._cancel()
        elif self._to_send is None:
            self._to_send = self.loop.call_later(self.limits.head_seconds, self._late)

    def _cancel(self) -> None:
        if self._to_send is not None:
            self._to_send.cancel()
            self._to_send = None

    def _late(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            said = b"The head of the request took longer than %g s" % self.limits.head_seconds
            headers = [("content-length", str(len(said))), ("connection", "close")]
            for event in (
                h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
                h11.Data(data=said),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connection_type(limits: Limits) -> type[Connection]:
    """What uvicorn makes of every connection."""
    return type("Connection", (Connection,), {"limits": limits})
