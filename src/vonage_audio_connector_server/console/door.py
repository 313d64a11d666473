"""Who may use the console: who has its link, on this machine, with a page of ours.

A page of somebody else's that is open in the same browser can reach the server, too: so each request must name this
host and come from a page of it, and the token of the link goes into a cookie that no other site's page sends along.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import MutableMapping
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

COOKIE = "audio-connector-console"

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Door:
    """Lets in or doesn't.

    Args:
        anywhere: whether callers from other machines, and other names of this one, are let in; the token is needed
            always.

    Attributes:
        token: what the link has to have.
    """

    def __init__(self, *, anywhere: bool = False) -> None:
        self.token = secrets.token_urlsafe(24)
        self._anywhere = anywhere

    def refusal(self, scope: MutableMapping[str, Any]) -> str | None:
        """Why a request isn't let in, whatever token it has; None: it may be."""
        request = HTTPConnection(scope)
        host = request.headers.get("host", "")
        if not self._anywhere:
            if not is_local(request):
                return "the console answers this machine alone: set console='anywhere' if others shall talk to it"
            if (urlsplit(f"//{host}").hostname or "") not in _LOCAL_NAMES:
                return "the console answers under the names localhost and 127.0.0.1 alone"
        origin = request.headers.get("origin")
        if scope["type"] == "websocket" and origin is None:
            return "the console talks to its own page alone"
        if origin is not None and urlsplit(origin).netloc != host:
            return "the console talks to its own page alone, and not to that of another site"
        return None

    def has_token(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether a request has the cookie of the link."""
        return self.is_token(HTTPConnection(scope).cookies.get(COOKIE, ""))

    def is_token(self, given: str) -> bool:
        """Whether it is the token, compared in constant time."""
        return compare_digest(given.encode(), self.token.encode())


def is_local(request: HTTPConnection) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    if request.client is None or any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip")):
        return False
    try:
        return ipaddress.ip_address(request.client.host.partition("%")[0]).is_loopback
    except ValueError:
        return request.client.host == "testclient"  # Starlette's, which has no address
