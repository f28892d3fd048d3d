"""Bodies of requests: in time, of a size that can be held, and unzipped."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from serving.server.limits import Limits
from serving.server.predict_json import RestError

_GZIP = 16 + zlib.MAX_WBITS
"""What zlib calls gzip."""


class Bodies:
    """Reads bodies, and knows how much it holds of all of them.

    Args:
        limits: of one, and of all.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._held = 0

    @contextlib.asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which is held until the end.

        Raises:
            RestError: it is too large, too slow or not what it says, or there are too many.
            starlette.requests.ClientDisconnect: the client went away.
        """
        # Not Starlette's `max_body_size`, which answers by plain text.
        limits = self._limits
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length[:20]) > limits.body:
            raise _too_large(limits)
        unzip = _unzip(request.headers.get("content-encoding", ""), limits)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(limits.body_seconds):
                    async for chunk in request.stream():
                        new = unzip.add(chunk, limits.body - len(body)) if unzip else chunk
                        body += new
                        self._held += len(new)
                        if len(body) > limits.body:
                            raise _too_large(limits)
                        if self._held > limits.active * limits.body:
                            raise RestError(503, "Too many large requests at a time")
            except TimeoutError:
                raise RestError(
                    408, f"The request took longer than {limits.body_seconds} s to arrive"
                ) from None
            if unzip:
                unzip.end()
            yield bytes(body)
        finally:
            self._held -= len(body)


class _Unzip:
    """Gzip, of one member or several, and no more than may be held."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._member = zlib.decompressobj(_GZIP)

    def add(self, chunk: bytes, most: int) -> bytes:
        """What a chunk says; more than `most` bytes of it are refused."""
        found = bytearray()
        while chunk:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                found += self._member.decompress(chunk, most - len(found) + 1)
            except zlib.error as error:
                raise RestError(400, f"The request is not gzip: {error}") from None
            if len(found) > most:
                raise _too_large(self._limits)
            chunk = self._member.unused_data
        return bytes(found)

    def end(self) -> None:
        """Refuses what is cut off."""
        if not self._member.eof:
            raise RestError(400, "The request is not gzip: it is cut off")


def _unzip(encoding: str, limits: Limits) -> _Unzip | None:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in ("gzip", "x-gzip"):
        raise RestError(415, f"Content-Encoding: expected gzip or none, received {encoding[:50]!r}")
    return _Unzip(limits)


def _too_large(limits: Limits) -> RestError:
    return RestError(413, f"The request is larger than {limits.body} bytes")
