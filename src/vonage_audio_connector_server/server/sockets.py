"""The sockets that a server listens on: bound before it starts, on every address of its host."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import sys

from ..errors import AudioConnectorStartServerError


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of the host, all on one port."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a name that can't be a host name
        raise AudioConnectorStartServerError(f"host {host!r} can't be resolved: {exc}") from exc
    bound: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            listener = socket.socket(family, kind, protocol)
        except OSError as exc:  # a family that this machine doesn't have
            refused = refused or exc
            continue
        try:
            if sys.platform != "win32":  # there it means something else
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            at_port = port or (bound[0].getsockname()[1] if bound else 0)
            listener.bind((address[0], at_port, *address[2:]))
            bound.append(listener)
        except OSError as exc:
            listener.close()
            if exc.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                refused = refused or exc  # such as ::1 for localhost on a machine without IPv6
                continue
            for other in bound:
                other.close()
            raise AudioConnectorStartServerError(_bind_error(host, port, exc)) from exc
    if not bound:
        assert refused is not None  # getaddrinfo returns at least one address
        raise AudioConnectorStartServerError(_bind_error(host, port, refused)) from refused
    return bound


def _bind_error(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: choose another, or 0 for a free one"
    if exc.errno == errno.EACCES:
        return f"port {port} of {host} needs a permission that this program lacks: choose one above 1023"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r} is no address of this machine"
    return f"can't listen on port {port} of {host}: {exc}"


def is_public(listener: socket.socket) -> bool:
    """Whether it listens on an address that the internet may reach: all of them, or a global one."""
    address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    return address.is_unspecified or address.is_global
