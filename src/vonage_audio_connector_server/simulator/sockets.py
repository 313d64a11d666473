"""Plain sockets without waiting threads, on asyncio and trio.

For who must set buffers before a socket connects, read no more than it means to, and end a connection by a reset: the
streams of anyio do none of it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress

import anyio

# As on the internet, whose segments are small. On loopback a sender would get a buffer of 2.5 MB for its 64 KiB ones:
# a minute of audio, before it noticed that nobody reads.
_SEGMENT_BYTES = 1_400
_RECEIVE_BUFFER_BYTES = 16_384

_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # of SO_LINGER: end by a reset


async def connect(host: str, port: int) -> socket.socket:
    """Connect to the first address of a host that answers.

    Raises:
        OSError: none does.
    """
    error = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        server = socket.socket(family, kind, protocol)
        try:
            prepare(server)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            if hasattr(socket, "TCP_MAXSEG"):
                with suppress(OSError):  # not every system lets itself be told
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
            with suppress(BlockingIOError):
                server.connect(address)
            await anyio.wait_writable(server)
            if code := server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code))
        except OSError as exc:
            server.close()
            error = exc
        except BaseException:
            server.close()
            raise
        else:
            return server
    raise error


def prepare(one: socket.socket) -> None:
    """Make a socket one that never waits, and sends at once."""
    one.setblocking(False)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset_on_close(one: socket.socket) -> None:
    """Let closing a socket reset its connection."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def receive(source: socket.socket, size_bytes: int) -> bytes:
    """What has come; empty: it is the end."""
    while True:
        await anyio.wait_readable(source)
        with suppress(BlockingIOError):
            return source.recv(size_bytes)


async def send(target: socket.socket, data: bytes) -> None:
    """Send all of it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[target.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(target)
