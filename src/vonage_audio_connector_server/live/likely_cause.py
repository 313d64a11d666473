"""Why no socket has come: what the connector has seen, and what its address looks like from here."""

from __future__ import annotations

import ipaddress
import os
import ssl
from urllib.parse import urlsplit

import anyio

from .arrivals import Arrival

PROBE_S = 3.0
"""How long the address is tried."""

_SEE_LOG = "the log of 'vonage_audio_connector_server' says more"


async def likely_cause(uri: str, arrival: Arrival | None) -> str:
    """The likely cause, as the rest of a sentence. It tries the address for `PROBE_S` at most.

    Args:
        uri: the address of the connect call; nothing of it is told but host and port.
        arrival: what the connector has seen; None: there is none.
    """
    if arrival is not None:
        seen = _seen(arrival)
        if seen is not None:
            return seen
    parts = urlsplit(uri)
    host, is_tls = parts.hostname or "", parts.scheme.lower() == "wss"
    port = parts.port or (443 if is_tls else 80)
    reached = "nothing reached this server" if arrival is not None else "the server was not reached"
    return f"{reached}: {await _fault(host, port, is_tls)}"


def _seen(arrival: Arrival) -> str | None:
    if arrival.refusal is not None:
        status, reason = arrival.refusal
        return f"it reached this server and was refused with HTTP {status}, {reason}: {_SEE_LOG}"
    if arrival.refused_strangers:
        status, reason = arrival.refused_strangers[-1]
        lost = "without its token" if arrival.token is not None else "without its header"
        return (
            f"a connection came {lost}, and was refused with HTTP {status}, {reason}: "
            "does a proxy or tunnel drop the query of the address, or headers?"
        )
    if arrival.strangers:
        return (
            "connections came, but none that could be told to be this one: "
            "does a proxy or tunnel drop headers, or the query of the address?"
        )
    return None


async def _fault(host: str, port: int, is_tls: bool) -> str:
    """What is wrong with an address."""
    if _is_private(host):
        return f"{host} is no address that the internet knows: give the public address of a tunnel or a proxy as uri"
    fault = await try_address(host, port, is_tls)
    if fault is not None:
        return fault
    if not is_tls:
        return "its address begins with ws://, and Vonage may ask for wss://: let a tunnel or a proxy speak TLS"
    return (
        f"{host}:{port} answers, so see whether what answers passes WebSockets on to this server, with this path "
        "(vonage-audio-connector doctor URL)"
    )


async def try_address(host: str, port: int, is_tls: bool) -> str | None:
    """What goes wrong on the way to a host, up to its certificate, seen from here; None: nothing."""
    where = f"{host}:{port}"
    try:
        with anyio.fail_after(PROBE_S):
            async with await anyio.connect_tcp(host, port) as stream:
                if is_tls:
                    from anyio.streams.tls import TLSStream

                    await TLSStream.wrap(stream, hostname=host, ssl_context=ssl.create_default_context())
    except TimeoutError:
        return f"{where} doesn't answer from here: do the tunnel and the firewall let connections in?"
    except ssl.SSLCertVerificationError as exc:
        return (
            f"the TLS certificate of {where} isn't trusted ({exc.verify_message}): give it one that is, with its chain"
        )
    except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError):
        return f"{where} speaks no TLS that can be used, and its address begins with wss://: is the port right?"
    except OSError as exc:
        if await _has_no_address(host):
            return f"{host} has no address in the DNS: is the name right, and the tunnel running?"
        return f"{where} can't be reached from here ({_reason(exc)}): is the tunnel or the proxy running?"
    return None


def _reason(error: OSError) -> str:
    """What the system says, below what asyncio, trio and anyio make of it."""
    found: BaseException = error
    while not (isinstance(found, OSError) and isinstance(found.errno, int)):
        inner = found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found.__cause__
        if inner is None:
            return type(found).__name__
        found = inner
    return os.strerror(found.errno)


async def _has_no_address(host: str) -> bool:
    try:
        await anyio.getaddrinfo(host, None)
    except OSError:
        return True
    return False


def _is_private(host: str) -> bool:
    """Whether nobody outside can mean this machine by it."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan"))
