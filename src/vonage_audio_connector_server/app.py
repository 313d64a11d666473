"""The ASGI application: a Starlette route that makes a `Client` of every WebSocket connection."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers
from starlette.routing import Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from .client import Client
from .config import MAX_MESSAGE_BYTES, AudioConnectorConfig, Hook, OnConnect
from .connection import Connection
from .core.pacing import DEFAULT_LEAD_S
from .core.wire import DEFAULT_CLEAR_COMMANDS
from .models import AudioConnectorConnectionData
from .stepping import call


class AudioConnector:
    """The server end of the Audio Connector as an ASGI application.

    Mount it (`app.mount("/vonage", AudioConnector(on_connect=on_connect))`), or serve it alone
    (`uvicorn module:app`). It answers WebSocket connections on every path below its own; `client.info().uri` tells
    which one was asked for.

    Args:
        on_connect: called with a `Client` for every connection, beside its receive loop.
        on_start: called at lifespan start-up. A mounted app gets no lifespan: see `lifespan`.
        on_stop: called at lifespan shutdown.
        rate_hz: the sample rate to assume where a connection tells none: 8000, 16000 or 24000.
        lead_s: how far ahead of real time audio is sent, 0.04 to 15 seconds; 0.2 by default.
        max_message_bytes: a longer inbound message closes its connection with 1009; 65,536 by default.
        clear_commands: the JSON texts that `flush_buffer` sends, in this order.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field.
    """

    def __init__(
        self,
        on_connect: OnConnect | None = None,
        *,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
        rate_hz: int = 16_000,
        lead_s: float = DEFAULT_LEAD_S,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clear_commands: Sequence[str] = DEFAULT_CLEAR_COMMANDS,
    ) -> None:
        self.config = AudioConnectorConfig(
            on_connect=on_connect,
            on_start=on_start,
            on_stop=on_stop,
            rate_hz=rate_hz,
            lead_s=lead_s,
            max_message_bytes=max_message_bytes,
            clear_commands=clear_commands,
        )
        self._connections = 0
        self._all_gone: anyio.Event | None = None
        self._router = Router([WebSocketRoute("/{path:path}", _Endpoint(self))], lifespan=self.lifespan)

    @property
    def connections(self) -> int:
        """How many connections are being served now."""
        return self._connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope: a WebSocket, the lifespan, or an HTTP request, which is answered with 404."""
        await self._router(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run `on_start` and, at the end, `on_stop`.

        Under an ASGI server it runs by itself. Where this application is mounted, enter it in the lifespan of the
        parent, because Starlette sends none to mounted applications:

            @asynccontextmanager
            async def lifespan(app):
                async with connector.lifespan(app):
                    yield
        """
        if self.config.on_start is not None:
            await call(self.config.on_start)
        try:
            yield
        finally:
            if self.config.on_stop is not None:
                await call(self.config.on_stop)

    async def wait_idle(self) -> None:
        """Wait until no connection is being served."""
        while self._connections:
            self._all_gone = self._all_gone or anyio.Event()
            await self._all_gone.wait()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return  # the peer went away before the handshake
        try:
            await send({"type": "websocket.accept"})
        except OSError:
            return  # the peer went away during the handshake: no connection, nothing to tell
        connection_id = uuid.uuid4().hex
        connection = Connection(receive, send, self.config, connection_id)
        client = Client(connection, _data(scope, connection_id))
        on_connect = self.config.on_connect or _ignore
        self._connections += 1
        try:
            await connection.run(partial(on_connect, client))
        finally:
            self._connections -= 1
            if not self._connections and self._all_gone is not None:
                self._all_gone.set()
                self._all_gone = None


def _ignore(client: Client) -> None:
    """Stands for an `on_connect` that was not given."""


class _Endpoint:
    """A plain ASGI callable, which Starlette routes to without wrapping it: its `WebSocket` costs 7 µs a message."""

    def __init__(self, connector: AudioConnector) -> None:
        self._connector = connector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._connector._serve(scope, receive, send)


def _data(scope: Scope, connection_id: str) -> AudioConnectorConnectionData:
    headers = Headers(scope=scope)
    raw_path: bytes | None = scope.get("raw_path")  # optional in ASGI
    path = raw_path.decode("latin-1") if raw_path else quote(scope["path"])
    query = scope.get("query_string", b"").decode("latin-1")
    return AudioConnectorConnectionData(
        id=connection_id,
        uri=f"{path}?{query}" if query else path,
        headers=headers,
        session_id=headers.get("x-opentok-ws-sessionid"),
        connection_id=headers.get("x-opentok-ws-connectionid"),
        conference_id=headers.get("x-opentok-ws-conferenceid"),
    )
