"""How the stand-in of the Realtime API and its client are joined: by a socket, or in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import anyio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close


class GoneError(Exception):
    """The client is gone."""


class Socket(Protocol):
    async def recv(self) -> str: ...
    async def send(self, text: str) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...
    async def abort(self) -> None: ...


class WebSocket:
    """The server's end of a connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def recv(self) -> str:
        message = await self._connection.recv()
        assert isinstance(message, str)
        return message

    async def send(self, text: str) -> None:
        await self._connection.send(text)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    async def abort(self) -> None:
        self._connection.transport.abort()


class Pipe:
    """The client's end of a connection in memory: what the openai packages use of one of websockets'."""

    def __init__(self) -> None:
        self.to_server, self.from_client = anyio.create_memory_object_stream[str](1_000_000)
        self.to_client, self.from_server = anyio.create_memory_object_stream[str](1_000_000)
        self.closed: Close | None = None  # by the server
        self.is_closed = False

    async def recv(self, decode: bool | None = None) -> str | bytes:
        try:
            text = await self.from_server.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            if self.closed is not None and self.closed.code == 1000:
                raise ConnectionClosedOK(self.closed, self.closed, True) from None
            raise ConnectionClosedError(self.closed, None) from None
        return text.encode() if decode is False else text

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[str | bytes]:
        try:
            while True:
                yield await self.recv()
        except ConnectionClosedOK:
            return

    async def send(self, text: str | bytes) -> None:
        if self.is_closed:
            raise ConnectionClosedError(self.closed, None)
        await self.to_server.send(text if isinstance(text, str) else text.decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.is_closed = True
        for stream in (self.to_server, self.from_client, self.to_client, self.from_server):
            stream.close()


class PipeEnd:
    """The server's end of it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def recv(self) -> str:
        try:
            return await self._pipe.from_client.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise GoneError from None

    async def send(self, text: str) -> None:
        try:
            await self._pipe.to_client.send(text)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise GoneError from None

    async def close(self, code: int, reason: str) -> None:
        self._pipe.closed = Close(code, reason)
        await self.abort()

    async def abort(self) -> None:
        self._pipe.is_closed = True
        self._pipe.to_client.close()
        raise GoneError
