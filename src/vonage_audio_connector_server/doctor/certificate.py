"""TLS: does it speak it, which version, and is the certificate one that the router can trust?"""

from __future__ import annotations

import ssl
import time
from typing import Any

import anyio
from anyio.streams.tls import TLSAttribute, TLSStream

from ..simulator.failures import explain
from .diagnosis import Line, in_two

SOON_DAYS = 14
"""Who renews by itself does so long before: Let's Encrypt's clients 30 days before the end."""

_HANDSHAKE_S = 10.0
_DAY_S = 86_400.0
_GONE = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError)

Trust = tuple[Line, Line]


async def check_tls(url: str, host: str, port: int, context: ssl.SSLContext | None) -> Trust:
    """Shake hands as the router does; returns the lines `tls` and `certificate`.

    Args:
        url: for what is told.
        host: whose certificate it must be.
        port: where.
        context: whom to trust; None: the authorities of this machine.
    """
    own = context is not None
    try:
        version, certificate = await _shake_hands(host, port, context or ssl.create_default_context())
    except ssl.SSLCertVerificationError as exc:
        return await _version_alone(host, port), Line("certificate", "failed", *in_two(explain(exc, url)))
    except (*_GONE, ssl.SSLError) as exc:
        text, advice = in_two(explain(_cause(exc), url))
        skipped = Line("certificate", "skipped", "there was no TLS handshake")
        return Line("tls", "failed", text, advice), skipped
    return Line("tls", "passed", f"{version}"), _judge(certificate, own=own)


def _judge(certificate: dict[str, Any], *, own: bool) -> Line:
    """A certificate that was trusted."""
    left_days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / _DAY_S
    numbers = {"left_days": left_days}
    text = f"trusted{' because of your --cafile' if own else ''}, for this name, for {left_days:.0f} more days"
    if left_days < SOON_DAYS:
        return Line("certificate", "warning", text, "renew it now, and see why that doesn't happen by itself", numbers)
    return Line("certificate", "passed", text, numbers=numbers)


async def _version_alone(host: str, port: int) -> Line:
    """The version of TLS, where the certificate is not trusted. Nothing is sent over that connection."""
    context = unverified()
    try:
        version, _ = await _shake_hands(host, port, context)
    except (*_GONE, ssl.SSLError):
        return Line("tls", "skipped", "the certificate is not trusted")
    return Line("tls", "passed", version)


async def _shake_hands(host: str, port: int, context: ssl.SSLContext) -> tuple[str, dict[str, Any]]:
    with anyio.fail_after(_HANDSHAKE_S):
        raw = await anyio.connect_tcp(host, port)
        try:
            stream = await TLSStream.wrap(raw, hostname=host, ssl_context=context, standard_compatible=False)
            version = stream.extra(TLSAttribute.tls_version)
            found = stream.extra(TLSAttribute.ssl_object).getpeercert()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(raw)
    return version.replace("TLSv", "TLS "), dict(found or {})


def unverified() -> ssl.SSLContext:
    """Trusts anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _cause(exc: BaseException) -> Exception:
    """What ssl said, below what anyio makes of it."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    if isinstance(exc, (anyio.EndOfStream, anyio.BrokenResourceError)):
        return ConnectionResetError("the connection was closed")
    return exc if isinstance(exc, Exception) else OSError(str(exc))
