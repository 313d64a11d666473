"""The ASGI application that makes a `Client` of every WebSocket connection."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .admission.gate import AudioConnectorRefusedError, acceptance, lost_upgrade, refuse
from .block import Block
from .call.recorded import make_call
from .calls import Calls
from .client import Client
from .close_codes import ABNORMAL, SERVICE_RESTART
from .config import MAX_MESSAGE_BYTES, AudioConnectorConfig, AudioTransport, Authorize, Hook, OnConnect, OnSession
from .connection_data import AudioConnectorConnectionData, place_of
from .core.pacer import DEFAULT_LEAD_S
from .core.session import MAX_QUEUED_S, WhenFull
from .core.wire import DEFAULT_CLEAR_COMMANDS
from .door import Door
from .errors import AudioConnectorConfigError
from .extensions import CALLS, LINK, RECORDER, extension
from .link.asgi import ASGILink
from .link.base import Link
from .live.arrivals import Arrivals
from .live.running import Running
from .mounting import answer_without_slash, path_below
from .recording.recorder import Recorder
from .sessions import Sessions
from .steps import Handler, call

if TYPE_CHECKING:
    from .console import Console

logger = logging.getLogger("vonage_audio_connector_server")

DRAIN_S = 10.0
"""How long what is being said may go on when the server stops: an answer, not a conversation."""

ACCEPTED = "the connection is accepted already: don't accept it first, the connector does, after 'authorize'"


class AudioConnector:
    """The server end of the Audio Connector as an ASGI application.

    Mount it (`app.mount("/vonage", AudioConnector(on_connect=on_connect))`), give it a `route` with parameters, let an
    endpoint of yours `connect`, or serve it alone (`uvicorn module:app`). It answers WebSocket connections on its path,
    and on every path below; `client.info().uri` tells which one was asked for.

    Args:
        on_connect: called with a `Client` for every connection, beside its receive loop.
        on_start: called at lifespan start-up. A mounted app gets no lifespan: see `lifespan`.
        on_stop: called at lifespan shutdown.
        on_session_start: called with a `VideoSession` when the first connection of a session comes, beside its calls.
        on_session_end: called with it when the last one has ended.
        rate_hz: the sample rate to assume where a connection tells none: 8000, 16000 or 24000.
        sample_rate_hz: the rate at which the program works, both ways, whatever the wire's; None: the wire's.
        lead_s: how far ahead of real time audio is sent, 0.04 to 15 seconds; 0.2 by default.
        max_message_bytes: a longer inbound message closes its connection with 1009; 65,536 by default.
        clear_commands: the JSON texts that `flush_buffer` sends, in this order.
        authorize: called with what is known of a connection before it is accepted; what is false refuses it with HTTP
            403, what is true is the `identity` of its client. Plain or coroutine function, or a ready-made one:
            `SharedSecret`, `OneTimeTokens`. None lets everybody in.
        max_connections: how many connections are served at once; one more is refused with HTTP 503. None: no limit.
        audio_transport: `auto`, `binary`, `json` or a `JSONTransport`; see `AudioConnectorConfig`.
        max_queued_s: seconds of audio that may wait to be sent; one call is accepted whole.
        when_full: what `send_audio_buffer` does beyond: `wait` or `raise`.
        max_duration_s: a call that lasts longer is closed. None: no limit.
        watchdog: tell in the log which line blocks the event loop for more than 0.1 s.
        recorder: keeps what the server saw of each call, for the case that it ends badly: a `FlightRecorder`. None:
            nothing is recorded.
        console: serve a page at `/console` on which one talks to the program; see `AudioConnectorConfig`.

    Attributes:
        sessions: the Vonage Video sessions that have connections now, by their ids: `VideoSession`.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field.
    """

    def __init__(
        self,
        on_connect: OnConnect | None = None,
        *,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
        on_session_start: OnSession | None = None,
        on_session_end: OnSession | None = None,
        rate_hz: int = 16_000,
        sample_rate_hz: int | None = None,
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
        recorder: Recorder | None = None,
        console: Literal[False, True, "anywhere"] = False,
    ) -> None:
        self.config = AudioConnectorConfig(
            on_connect=on_connect,
            on_start=on_start,
            on_stop=on_stop,
            on_session_start=on_session_start,
            on_session_end=on_session_end,
            rate_hz=rate_hz,
            sample_rate_hz=sample_rate_hz,
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
            recorder=recorder,
            console=console,
        )
        self._calls = Calls()
        self._arrivals = Arrivals()
        self._running = Running()
        self._door = Door(self.config, self._calls, self._arrivals.refused)
        self.sessions = Sessions(self.config)
        self._has_lifespan = self.config.on_start is None  # it has been entered, or nothing is missed without
        self._router = Router(lifespan=self.lifespan)  # for all but WebSockets
        answer_without_slash(AudioConnector)
        self.console: Console | None = None
        if console:
            from .console import Console  # only then: it takes the simulator, which no server needs

            self.console = Console(self, self._calls, anywhere=console == "anywhere")

    @property
    def connections(self) -> int:
        """How many connections are being served now."""
        return self._calls.places

    @property
    def console_link(self) -> str | None:
        """The path of the console's page below that of the connector, with its token; None: it is switched off."""
        return None if self.console is None else self.console.link

    @property
    def draining(self) -> bool:
        """Whether it has begun to stop, and lets nobody in any more: for a health check."""
        return self._door.is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope: a WebSocket, the lifespan, or an HTTP request, which is answered with 404."""
        if self.console is not None and scope["type"] != "lifespan":
            self.console.tell_where(scope)
            if self.console.serves(path_below(scope)):
                await self.console(scope, receive, send)
                return
        if scope["type"] != "websocket":
            await (lost_upgrade(scope) or self._router)(scope, receive, send)
            return
        first = (await receive())["type"]
        if first == "websocket.disconnect":
            return  # the peer went away before the handshake
        if first != "websocket.connect":
            raise AudioConnectorConfigError(ACCEPTED)
        try:
            info, identity = await self._admit(scope)
        except AudioConnectorRefusedError as exc:
            with suppress(OSError):  # the peer went away
                await refuse(scope, send, exc.status_code, exc.headers)
            return
        self._calls.enter()
        try:
            client = await self._accept(scope, receive, send, info, identity)
            if client is not None:
                await self._serve(client, self.config.on_connect or _ignore, receive, send)
        finally:
            self._calls.leave()

    def route(self, path: str, name: str | None = None) -> WebSocketRoute:
        """A route for exactly this path, with parameters as Starlette has them: `client.path_params` has their values.

        For `FastAPI(routes=[connector.route("/vonage/{bot_id}")])`, or `app.router.routes.append(...)`.
        """
        return WebSocketRoute(path, self, name=name)

    def connect_route(self, path: str = "/connect", *, uri: str, authorize: Authorize | None, **settings: Any) -> Route:
        """A route that starts the audio of a live session when it gets a `POST`, as Vonage's samples have it.

        For `app.router.routes.append(connector.connect_route(...))`. The request's body is JSON: `sessionId`, and
        perhaps `streams`, `headers`, `audioRate`; the answer has `id`, `connectionId` and `sessionId`, or `error`. The
        audio goes on until its socket closes; `drain` and the end of the lifespan end it by a force-disconnect.

        Args:
            path: of the route.
            uri: the public address of this connector.
            authorize: asked who may start it, as this connector's own; None: others guard the route.
            **settings: `session_id`, where a request has none; else as in `start_session_audio`: `credentials`,
                `bidirectional`, `transport`, `tokens`, `for_s`.

        Raises:
            AudioConnectorConfigError: a value can't be used.
        """
        from .live.connect_route import connect_route  # only then

        return connect_route(self, self._running, path, uri=uri, authorize=authorize, **settings)

    @asynccontextmanager
    async def connect(self, websocket: WebSocket) -> AsyncIterator[Client]:
        """Serve one connection from an endpoint of your own, with its parameters and dependencies at hand.

            @app.websocket("/vonage/{bot_id}")
            async def vonage(websocket: WebSocket, bot_id: str, model: Annotated[Model, Depends(get_model)]):
                async with connector.connect(websocket) as client:
                    async for message in client:
                        ...

        It asks `authorize`, accepts, and serves the call until the block is left, which closes it with 1000. When the
        call ends before, all waits in the block end, and it has 5 s more before it is cancelled. `on_connect`, if there
        is one, runs beside it. An error that leaves the block closes the call with 1011; that the call has ended
        (`AudioConnectorClosedError`) is none.

        Args:
            websocket: as the endpoint gets it: not accepted yet.

        Raises:
            AudioConnectorConfigError: it is accepted already.
            AudioConnectorRefusedError: it is not let in. Let it pass: it answers the handshake.
            starlette.websockets.WebSocketDisconnect: the peer went away during the handshake.
        """
        if not websocket.client_state is websocket.application_state is WebSocketState.CONNECTING:
            raise AudioConnectorConfigError(ACCEPTED)
        receive, send = websocket.receive, websocket.send
        await receive()
        info, identity = await self._admit(websocket.scope)
        self._calls.enter()
        try:
            client = await self._accept(websocket.scope, receive, send, info, identity)
            if client is None:
                raise WebSocketDisconnect(ABNORMAL)
            block = Block(client, self.config.on_connect)
            async with block.beside(self._serve, client, block, receive, send):
                yield client
        finally:
            self._calls.leave()

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
        self._has_lifespan = True
        if self.console is not None:
            self.console.tell()
        if self.config.on_start is not None:
            await call(self.config.on_start)
        try:
            yield
        finally:
            await self._running.stop()
            if self.config.on_stop is not None:
                await call(self.config.on_stop)

    async def wait_idle(self) -> None:
        """Wait until no connection is being served."""
        await self._calls.wait_idle()

    async def drain(self, drain_s: float = DRAIN_S) -> None:
        """Stop serving, in order: new handshakes get HTTP 503; what is being said ends; then 1012 closes each call.

        Call it before the ASGI server stops, because most servers close all sockets first. Cancelling it leaves the
        calls as they are; new handshakes are refused from its beginning on.

        Args:
            drain_s: how long what is being said may take, 10 s by default; what goes on longer is cut off.
        """
        await self._calls.drain(drain_s)
        await self._running.stop()

    async def _admit(self, scope: Scope) -> tuple[AudioConnectorConnectionData, object]:
        """What is known of a connection, and what `authorize` says; raises `AudioConnectorRefusedError`."""
        if not self._has_lifespan:
            self._has_lifespan = True
            logger.warning(
                "on_start has not run, because the application around this connector doesn't enter its lifespan: "
                "write 'async with connector.lifespan(app): yield' there"
            )
        return await self._door.admit(scope)

    async def _accept(
        self, scope: Scope, receive: Receive, send: Send, info: AudioConnectorConnectionData, identity: object
    ) -> Client | None:
        """Answer the handshake; None where the peer went away, or nobody is let in any more."""
        try:
            await send(acceptance(info))
            own = extension(scope, LINK)
            if own is not None:
                own.hold()
            if self._door.is_draining_for(extension(scope, CALLS)):  # since the accept began
                await send({"type": "websocket.close", "code": SERVICE_RESTART, "reason": "server stops"})
                return None
        except (OSError, WebSocketDisconnect):
            return None
        link: Link = ASGILink(receive, send) if own is None else own
        one = make_call(link, self.config, info.id, place_of(info), extension(scope, RECORDER))
        return Client(one, info, scope, identity, self.config.sample_rate_hz)

    async def _serve(self, client: Client, on_connect: Handler, receive: Receive, send: Send) -> None:
        one = client._call
        has_own_link = extension(client.request.scope, LINK) is not None
        groups = [calls for calls in (self._calls, extension(client.request.scope, CALLS)) if calls is not None]
        for calls in groups:
            calls.live.add(one)
        participant = self.sessions.join(client)
        self._arrivals.came(client)
        try:
            await one.run(on_connect, client)
        finally:
            self.sessions.leave(participant)
            self._arrivals.left(client)
            for calls in groups:
                calls.live.discard(one)
                if one.close_report is not None:
                    calls.ended.append(one.close_report)
        if has_own_link:  # whoever wraps `receive` or `send`, and saw no message, sees the end
            if one.closing is not None:
                code, _, reason = one.closing
                await send({"type": "websocket.close", "code": code, "reason": reason})
            await receive()


def _ignore(client: Client) -> None:
    """Stands for an `on_connect` that was not given."""
