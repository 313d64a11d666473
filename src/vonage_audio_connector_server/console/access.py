"""Who may use the console: who has its link, on this machine, with a page of ours.

A page of somebody else's that is open in the same browser can reach the server, too: so each request must name this
host and come from a page of it, and the token of the link goes into a cookie that no other site's page sends along.
"""

from __future__ import annotations

import ipaddress
import secrets
from hmac import compare_digest
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

COOKIE = "audio-connector-console"

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_OF_PROXIES = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via")


class Access:
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

    def refusal(self, request: HTTPConnection) -> str | None:
        """Why a request isn't let in; None: it is."""
        host = request.headers.get("host", "")
        if not self._anywhere:
            if not is_local(request):
                return "the console answers this machine alone: set console='anywhere' if others shall talk to it"
            if _name_in(host) not in _LOCAL_NAMES:
                return "the console answers under the names localhost and 127.0.0.1 alone"
        origin = request.headers.get("origin")
        if request.scope["type"] == "websocket" and origin is None:
            return "the console talks to its own page alone"
        if origin is not None and urlsplit(origin).netloc != host:
            return "the console talks to its own page alone, and not to that of another site"
        given = request.query_params.get("token") or request.cookies.get(cookie_name(request), "")
        if not compare_digest(given.encode(), self.token.encode()):
            return "open the console with the link that the server printed when it started: its token is missing or old"
        return None


def cookie_name(request: HTTPConnection) -> str:
    """The name of the cookie: browsers don't tell the ports of a host apart, and each may have a console."""
    return f"{COOKIE}-{request.headers.get('host', '').rpartition(':')[2].rpartition(']')[2] or 'default'}"


def is_local(request: HTTPConnection) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    if request.client is None or any(name in request.headers for name in _OF_PROXIES):
        return False
    try:
        address = ipaddress.ip_address(request.client.host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # as a listener on all addresses tells them
    return (mapped or address).is_loopback


def _name_in(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket that is not closed
        return ""
