"""The ASGI application: a Starlette route that makes a `Client` of every WebSocket connection."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers
from starlette.routing import Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from .call.call import Call
from .call.questions import heard
from .client import Client
from .close_codes import SERVICE_RESTART
from .config import MAX_MESSAGE_BYTES, AudioConnectorConfig, AudioTransport, Authorize, Hook, OnConnect
from .core.pacing import DEFAULT_LEAD_S
from .core.session import MAX_QUEUED_S, WhenFull
from .core.wire import DEFAULT_CLEAR_COMMANDS
from .entrance import FORBIDDEN, Refusal, ask, mask_query, refuse
from .link.application import LINK
from .link.asgi import ASGILink
from .link.base import Link
from .models import AudioConnectorConnectionData
from .steps import call

logger = logging.getLogger("vonage_audio_connector_server")

DRAIN_S = 10.0
"""How long what is being said may go on when the server stops: an answer, not a conversation."""


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
        authorize: called with what is known of a connection before it is accepted; false refuses it with HTTP 403.
            Plain or coroutine function, or a ready-made one: `SharedSecret`, `OneTimeTokens`. None lets everybody in.
        max_connections: how many connections are served at once; one more is refused with HTTP 503. None: no limit.
        audio_transport: `auto`, `binary`, `json` or a `JSONTransport`; see `AudioConnectorConfig`.
        max_queued_s: seconds of audio that may wait to be sent; one call is accepted whole.
        when_full: what `send_audio_buffer` does beyond: `wait` or `raise`.
        max_duration_s: a call that lasts longer is closed. None: no limit.
        watchdog: tell in the log which line blocks the event loop for more than 0.1 s.

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
        authorize: Authorize | None = None,
        max_connections: int | None = None,
        audio_transport: AudioTransport = "auto",
        max_queued_s: float = MAX_QUEUED_S,
        when_full: WhenFull = "wait",
        max_duration_s: float | None = None,
        watchdog: bool = True,
    ) -> None:
        self.config = AudioConnectorConfig(
            on_connect=on_connect,
            on_start=on_start,
            on_stop=on_stop,
            rate_hz=rate_hz,
            lead_s=lead_s,
            max_message_bytes=max_message_bytes,
            clear_commands=clear_commands,
            authorize=authorize,
            max_connections=max_connections,
            audio_transport=audio_transport,
            max_queued_s=max_queued_s,
            when_full=when_full,
            max_duration_s=max_duration_s,
            watchdog=watchdog,
        )
        self._live: set[Call] = set()
        self._places = 0  # those that are being served, and those that are being let in
        self._draining = False
        self._all_gone: anyio.Event | None = None
        self._router = Router([WebSocketRoute("/{path:path}", _Endpoint(self))], lifespan=self.lifespan)

    @property
    def connections(self) -> int:
        """How many connections are being served now."""
        return self._places

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
        while self._places:
            self._all_gone = self._all_gone or anyio.Event()
            await self._all_gone.wait()

    async def drain(self, drain_s: float = DRAIN_S) -> None:
        """Stop serving, in order: new handshakes get HTTP 503; what is being said ends; then 1012 closes each call.

        Call it before the ASGI server stops, because most servers close all sockets first. Cancelling it leaves the
        calls as they are; new handshakes are refused from its beginning on.

        Args:
            drain_s: how long what is being said may take; what goes on longer is cut off.
        """
        self._draining = True
        with anyio.move_on_after(drain_s):
            async with anyio.create_task_group() as retiring:
                for one in self._live:
                    retiring.start_soon(_retire, one)
        for one in list(self._live):
            one.close(SERVICE_RESTART, "server stops", by="server")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return  # the peer went away before the handshake
        info = _data(scope, uuid.uuid4().hex)
        refused = self._full()
        if refused is None and self.config.authorize is not None:
            mask_query(scope, self.config.authorize)
            refused = await ask(self.config.authorize, info) or self._full()
        if refused is not None:
            level = logging.DEBUG if refused.status == FORBIDDEN else logging.INFO  # authorize has told, if it wants
            logger.log(level, "connection %s: refused with HTTP %d, %s", info.id, *refused)
            with suppress(OSError):  # the peer went away
                await refuse(scope, send, refused)
            return
        self._places += 1
        try:
            await self._enter(receive, send, info, scope)
        finally:
            self._places -= 1
            if not self._places and self._all_gone is not None:
                self._all_gone.set()
                self._all_gone = None

    async def _enter(self, receive: Receive, send: Send, info: AudioConnectorConnectionData, scope: Scope) -> None:
        try:
            await send({"type": "websocket.accept"})
            if self._draining:  # since the accept began
                await send({"type": "websocket.close", "code": SERVICE_RESTART, "reason": "server stops"})
                return
        except OSError:
            return  # the peer went away during the handshake: no connection, nothing to tell
        own: Link | None = (scope.get("extensions") or {}).get(LINK)
        link: Link = ASGILink(receive, send) if own is None else own
        host = (scope.get("client") or ("an unknown address",))[0]
        one = Call(link, self.config, info.id, f"{info.uri.partition('?')[0]} from {host}")
        client = Client(one, info)
        self._live.add(one)
        try:
            await one.run(self.config.on_connect or _ignore, client)
        finally:
            self._live.discard(one)
        if own is not None:  # for who wraps `receive` or `send`
            await _show_end(one, receive, send)

    def _full(self) -> Refusal | None:
        """Why nobody is let in now, whoever it is."""
        if self._draining:
            return Refusal(503, "the server is stopping")
        limit = self.config.max_connections
        if limit is not None and self._places >= limit:
            return Refusal(503, f"all {limit} connections are taken")
        return None


async def _retire(one: Call) -> None:
    """Let what is being said end, then close, because the server stops."""
    await one.waits.wait(heard(one))
    one.close(SERVICE_RESTART, "server stops", by="server")


async def _show_end(one: Call, receive: Receive, send: Send) -> None:
    """Let a middleware see the end of a call whose messages went past it."""
    if one.closing is not None:
        code, _, reason = one.closing
        await send({"type": "websocket.close", "code": code, "reason": reason})
    await receive()


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
