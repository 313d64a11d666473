"""Why there is no connection, as one sentence for who called: what was wrong, and what to do.

From the exceptions of ssl, asyncio and websockets; nothing is raised here, and no query is told, because secrets are
in it.
"""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

from websockets.exceptions import InvalidMessage, InvalidStatus

_STATUS = {
    401: "something before the connector, such as a proxy, asks for a login",
    403: "authorize said no (a token or secret is missing, wrong, used or expired), or nothing answers on that path",
    404: "nothing answers on that path, or a proxy in between does not pass on Connection and Upgrade",
    426: "a proxy in between does not pass on Connection and Upgrade",
    500: "it failed, or its authorize did: its log has the traceback",
    502: "a proxy answered, and the server behind it did not: is that running?",
    503: "all connections are taken (max_connections), it is stopping, or authorize took too long",
    504: "a proxy answered, and the server behind it did not: is that running?",
}

_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"))
"""How versions of OpenSSL name an answer that is no TLS."""

# What X509_verify_cert of OpenSSL returns.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset((2, 18, 19, 20, 21))  # no issuer; signed by itself, or by one unknown; no chain
_WRONG_HOST = frozenset((62, 64))  # a name, an address


def explain(exc: Exception, url: str) -> str:
    """Say why `url` could not be connected to."""
    parts = urlsplit(url)
    place, is_tls = parts.netloc.rpartition("@")[2], parts.scheme == "wss"
    if isinstance(exc, InvalidStatus):
        location = exc.response.headers.get("Location")
        if location is not None and 300 <= exc.response.status_code < 400:
            where = urlsplit(location)._replace(query="", fragment="").geturl()
            return (
                f"the server sends the caller elsewhere (HTTP {exc.response.status_code}), to {where}: the router is "
                "not known to follow: give it that address"
            )
        return refused(exc.response.status_code, is_tls=is_tls)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"no connection: {_distrusted(exc, parts.hostname or place)}"
    if isinstance(exc, ssl.SSLError) or (is_tls and isinstance(exc, ConnectionResetError)):
        return f"no connection: {_no_handshake(exc, place)}"
    if isinstance(exc, InvalidMessage):
        wanted = "wants a certificate of the caller" if is_tls else "speaks TLS, and wss:// is right"
        return (
            f"no WebSocket connection: what listens at {place} did not answer as a web server does: "
            f"either it {wanted}, or the port is another program's"
        )
    if isinstance(exc, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(exc):  # at several addresses
        return f"no connection: nothing listens at {place}: is the server running, and the port right?"
    if isinstance(exc, socket.gaierror):
        return f"no connection: the host {parts.hostname!r} can't be found ({exc.strerror}): is its name right?"
    if isinstance(exc, OSError):
        return f"no connection to {place}: {exc.strerror or str(exc) or type(exc).__name__}"
    return f"no WebSocket connection: {exc}"


def refused(status: int, *, is_tls: bool) -> str:
    """Say why the server answered with this status, and not with a WebSocket."""
    if 200 <= status < 300:
        return (
            f"no WebSocket connection: an ordinary web page answered (HTTP {status}): either host, port or path is "
            "wrong, or a proxy in between does not pass on Connection and Upgrade"
        )
    hint = _STATUS.get(status)
    if status == 400 and not is_tls:  # what web servers answer in the clear on their TLS port
        hint = "if it speaks TLS, write wss:// in place of ws://"
    return f"the server refused the connection with HTTP {status}{f': {hint}' if hint else ''}"


def _distrusted(exc: ssl.SSLCertVerificationError, host: str) -> str:
    if exc.verify_code in _WRONG_HOST:
        return (
            f"the server's certificate is not for {host}: call the server by a name that is in the certificate, or "
            f"give it one for {host}"
        )
    if exc.verify_code == _EXPIRED:
        return "the server's certificate has expired: renew it, and start the server again"
    if exc.verify_code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: is the clock of this machine right?"
    if exc.verify_code in _UNKNOWN_AUTHORITY:
        return (
            "the server's certificate comes from an authority that is not trusted here: name the authority's own "
            "certificate (--cafile, or ssl_context in a program); if it is a public one, the server must send the "
            "whole chain (often fullchain.pem)"
        )
    return f"the server's certificate is not accepted: {exc.verify_message}"


def _no_handshake(exc: OSError, place: str) -> str:
    reason = exc.reason or "" if isinstance(exc, ssl.SSLError) else ""
    if reason in _NO_TLS:
        return (
            f"what listens at {place} does not speak TLS: write ws:// in place of wss://, or give the server a "
            "certificate"
        )
    _, alert, told = reason.partition("ALERT_")
    if alert:
        return (
            f"the server refused the TLS handshake ({told.replace('_', ' ').lower()}): either it has no certificate, "
            "or it wants one of the caller, or another version of TLS"
        )
    return (
        f"what listens at {place} broke off the TLS handshake: either it speaks no TLS, and ws:// is right, or it has "
        "no certificate to show"
    )
