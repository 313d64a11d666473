"""Is there an address, can the router reach it, and does anything listen there?"""

from __future__ import annotations

import errno
import ipaddress
import socket

import anyio

from ..runtime import call_clock
from ..simulator.failures import explain
from .diagnosis import Line, in_two, milliseconds

_TRIED = 4
"""So many addresses of a name are tried."""

_CONNECT_S = 5.0
"""How long each may take."""

_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


async def look_up(host: str, port: int) -> tuple[Line, list[str]]:
    """The addresses of a host; none: there is none."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        text, advice = in_two(explain(exc, f"ws://{host}"))
        return Line("address", "failed", text, advice), []
    except UnicodeError:
        return Line("address", "failed", f"{host} can't be the name of a host", "look for a typing error"), []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return judge_addresses(host, addresses), addresses


def judge_addresses(host: str, addresses: list[str]) -> Line:
    """Whether the router, which is out on the internet, can reach what a name stands for."""
    kinds = {address: _kind(address) for address in addresses}
    told = ", ".join(address if kind is None else f"{address} ({kind})" for address, kind in kinds.items())
    text = told if addresses == [host] else f"{host} is {told}"
    numbers = {"addresses": len(addresses)}
    if not any(kinds.values()):
        return Line("address", "passed", text, numbers=numbers)
    if all(kinds.values()):
        advice = "the router can't reach it: give the connect call a public address, such as that of a tunnel"
    else:
        advice = "take the addresses that are not public out of its DNS records: the router may try any of them"
    return Line("address", "warning", text, advice, numbers)


def _kind(address: str) -> str | None:
    """What keeps the router from reaching an address; None: nothing."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.is_loopback:
        return "this machine alone"
    if ip.is_link_local:
        return "this cable alone"
    if ip.is_private:
        return "a private network"
    return None if ip.is_global else "not a public address"


async def knock(addresses: list[str], port: int) -> tuple[Line, float | None]:
    """Open a TCP connection to each; returns the shortest time that it took, in seconds; None: none could be opened."""
    clock = call_clock()
    took_s: dict[str, float] = {}
    failed: dict[str, OSError] = {}
    for address in addresses[:_TRIED]:
        began_s = clock()
        try:
            with anyio.fail_after(_CONNECT_S):
                stream = await anyio.connect_tcp(address, port)
        except OSError as exc:  # TimeoutError is one
            failed[address] = _plain(exc)
        else:
            took_s[address] = clock() - began_s
            await anyio.aclose_forcefully(stream)
    if not took_s:
        return _nobody(failed, port), None
    best_s = min(took_s.values())
    numbers = {"connect_ms": best_s * 1000}
    text = f"connected to port {port} in {milliseconds(best_s)}"
    # That this machine has no IPv6 says nothing about the router.
    silent = [address for address, exc in failed.items() if exc.errno not in _NO_ROUTE]
    if silent:
        advice = "let the server listen there, too, or take the address out of its DNS records"
        return Line("tcp", "warning", f"{text}, but not at {', '.join(silent)}", advice, numbers), best_s
    return Line("tcp", "passed", text, numbers=numbers), best_s


def _plain(exc: OSError) -> OSError:
    """The system's own error, below what anyio makes of it."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        cause = cause.__cause__
    return exc


def _nobody(failed: dict[str, OSError], port: int) -> Line:
    refused = [exc for exc in failed.values() if isinstance(exc, ConnectionRefusedError)]
    where = f"port {port} of {' and '.join(failed)}"
    if refused:
        return Line("tcp", "failed", f"nothing listens at {where}", "is the server running, and the port right?")
    if all(isinstance(exc, TimeoutError) for exc in failed.values()):
        text = f"nothing answers at {where} within {_CONNECT_S:g} s"
        return Line("tcp", "failed", text, "a firewall or security group may drop what comes: open the port")
    told = next(iter(failed.values()))
    return Line("tcp", "failed", f"no connection to {where}: {told.strerror or told}", "is the host up, and in reach?")
