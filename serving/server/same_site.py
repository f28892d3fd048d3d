"""Refuses what a page of another site asks: whoever has a browser open may visit any page.

A page may send any other server a POST of text or of a form without asking it first; JSON it may
send only where that server agrees, and ours never does. Beside that, browsers say by `Origin` of
which site a POST is. A name that a stranger owns may lead here (DNS rebinding), so that it is not
enough that `Origin` and `Host` are the same: an address, `localhost` and the name of this machine
are nobody else's. Whatever is no browser sends no `Origin`.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from serving.server.predict_json import RestError

JSON = "application/json"


def check_same_site(headers: Headers) -> None:
    """Refuses a request that may be of another site's page.

    Args:
        headers: of the request.

    Raises:
        RestError: 415, it does not say that it is JSON; 403, it is of another site.
    """
    kind = headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != JSON:
        raise RestError(415, f"Content-Type: expected {JSON}, received {kind[:50]!r}")
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, headers.get("host", "")):
        raise RestError(
            403,
            f"Origin: expected this server by address or as localhost, received {origin[:80]!r}",
        )


def _is_own(origin: str, host: str) -> bool:
    if origin.lower() != f"http://{host.lower()}":
        return False
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:  # of brackets that hold no address
        return False
    if name in ("localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
