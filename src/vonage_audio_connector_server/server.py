"""A server of our own: uvicorn in the caller's event loop, on sockets that are bound before it starts.

It leaves signal handlers and logging to the application. This is the one part that needs asyncio, because uvicorn does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import ipaddress
import logging
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Self

import uvicorn

from .app import DRAIN_S, AudioConnector
from .call.call import CANCELLED_GRACE_S
from .config import AudioConnectorServerConfig, Hook, WebSocketImplementation, shared_options
from .errors import AudioConnectorStartServerError
from .link.websocket import WebSocketProtocol
from .steps import call

logger = logging.getLogger("vonage_audio_connector_server")

PING_S = 20.0
"""The peer is pinged this often and has as long to answer; the reference SDK's numbers, which the router answers."""

STOP_S = 10
"""How long open connections have to end by themselves when the server stops, before they are cancelled."""


class AudioConnectorServerHandle:
    """A running server. `async with` it, or call `stop()` when you are done.

    Attributes:
        host: the host of the configuration.
        port: the port it listens on: the real one where the configuration said 0.
        secure: whether it speaks TLS.
    """

    def __init__(self, host: str, port: int, *, secure: bool, server: _Server, task: asyncio.Task[None]) -> None:
        self.host = host
        self.port = port
        self.secure = secure
        self._server = server
        self._task = task

    def __repr__(self) -> str:
        return f"<AudioConnectorServerHandle {self.get_address()} {'running' if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether it serves: false from the call of `stop()` on."""
        return not self._server.stopping and not self._task.done()

    def get_address(self) -> str:
        """Its address: `ws://host:port`, or `wss://host:port` with TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop in order; returns when all is done.

        New handshakes get HTTP 503, what is being said ends, then every connection is closed with 1012, and `on_stop`
        runs. May be called again, and by several tasks at once; the shortest `drain_s` holds. User code that is in
        progress when its connection is closed has 5 s to end by itself, and its `on_disconnect` 10 s more; one that
        still runs after 10 s is cancelled. All in all it takes `drain_s` and 25 s at most, as long as nothing blocks
        the event loop. Cancelling it doesn't stop the stopping.

        Args:
            drain_s: how long what is being said may take; 0 cuts it off.

        Raises:
            Exception: what `on_stop` raised.
        """
        self._server.stop_within(drain_s)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the server has stopped. Cancelling it leaves the server running.

        Raises:
            Exception: what `on_stop` raised, or what made the server end by itself.
        """
        if asyncio.current_task() is not self._task:  # on_stop runs there, and must not wait for itself
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(DRAIN_S if exc_type is None else 0.0)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which says when it listens and drains before it stops."""

    def __init__(self, config: uvicorn.Config, connector: AudioConnector) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._connector = connector
        self._draining: asyncio.Task[None] | None = None
        self._drained_s = math.inf  # when it is over, on the clock of the event loop

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._draining is not None or self.should_exit

    def stop_within(self, drain_s: float) -> None:
        """Drain for so long at most, and then exit."""
        drained_s = asyncio.get_running_loop().time() + max(0.0, drain_s)
        if not self.should_exit and drained_s < self._drained_s:
            self._drained_s = drained_s
            if self._draining is not None:
                self._draining.cancel()
            self._draining = asyncio.create_task(self._drain(drain_s))

    async def _drain(self, drain_s: float) -> None:
        await self._connector.drain(drain_s)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


async def start_server(config: AudioConnectorServerConfig) -> AudioConnectorServerHandle:
    """Start a server in the running event loop; it listens, and `on_start` has run, when this returns.

    Raises:
        AudioConnectorStartServerError: the host can't be resolved, the port can't be had, what `ws` names is not
            installed, or `on_start` failed. The cause is kept, and nothing is left listening.
    """
    ws_protocol = _find_ws_protocol(config.ws)
    sockets = await _bind(config.host, config.port)
    # on_start runs when the port is open, as in the reference SDK, and not in the lifespan, which comes before.
    app = AudioConnector(**(shared_options(config) | {"on_start": None, "on_stop": None}))
    tls = config.ssl
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            server_header=False,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            timeout_graceful_shutdown=STOP_S,
            ws=ws_protocol,
            ws_max_size=config.max_message_bytes,
            ws_per_message_deflate=False,  # PCM grows under it
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
        ),
        app,
    )
    stop_hooks: list[Hook] = []
    task = asyncio.create_task(_serve(server, app, sockets, stop_hooks))
    handle = AudioConnectorServerHandle(
        config.host, sockets[0].getsockname()[1], secure=tls is not None, server=server, task=task
    )
    try:
        await _listening(server, task)
        if config.on_start is not None:
            await call(config.on_start)
    except BaseException as exc:  # a cancellation, too, must leave nothing listening
        server.should_exit = True
        with contextlib.suppress(Exception):  # the first error is the one to tell
            await handle.wait_closed()
        if isinstance(exc, Exception):
            raise AudioConnectorStartServerError(f"the server was not started: {exc!r}") from exc
        raise
    if config.on_stop is not None:
        stop_hooks.append(config.on_stop)
    if config.authorize is None and any(_is_public(listener) for listener in sockets):
        logger.warning(
            "%s can be reached from outside and lets everybody in: set authorize, for example to SharedSecret(…)",
            handle.get_address(),
        )
    logger.info("listening on %s", handle.get_address())
    return handle


def _find_ws_protocol(name: WebSocketImplementation) -> type[asyncio.Protocol] | str:
    """The class that speaks WebSocket, or uvicorn's name of it."""
    if name == "wsproto":
        if importlib.util.find_spec("wsproto") is None:
            raise AudioConnectorStartServerError("ws='wsproto' needs wsproto: pip install wsproto")
        return name
    return WebSocketProtocol if name == "auto" else name


def _is_public(listener: socket.socket) -> bool:
    """Whether it listens on an address that the internet may reach: all of them, or a global one."""
    address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    return address.is_unspecified or address.is_global


def run_server(config: AudioConnectorServerConfig, drain_s: float = DRAIN_S) -> None:
    """Serve until SIGINT or SIGTERM, on the fastest event loop that is installed; then stop as `stop(drain_s)` does.

    A second SIGINT while it stops raises KeyboardInterrupt.

    Raises:
        AudioConnectorStartServerError: as `start_server` does.
    """
    loop_factory = uvicorn.Config(_no_app, log_config=None, loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve_until_signal(config, drain_s))


async def _serve_until_signal(config: AudioConnectorServerConfig, drain_s: float) -> None:
    async with _signalled() as signalled:
        told = asyncio.create_task(signalled.wait())
        starting = asyncio.create_task(start_server(config))
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # told to stop while on_start runs
            _restore_signals()
            starting.cancel()
            await asyncio.wait({starting})
            return
        try:
            async with starting.result() as handle:
                closed = asyncio.create_task(handle.wait_closed())
                await asyncio.wait({closed, told}, return_when=asyncio.FIRST_COMPLETED)
                _restore_signals()
                await handle.stop(drain_s)
            await closed
        finally:
            told.cancel()


@contextlib.asynccontextmanager
async def _signalled() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, where the program can have signal handlers."""
    event = asyncio.Event()
    # NotImplementedError: Windows' loops. ValueError, RuntimeError: not in the main thread.
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        _restore_signals()


def _restore_signals() -> None:
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


async def _no_app(scope: object, receive: object, send: object) -> None:
    """Stands for the application where only uvicorn's choice of an event loop is asked for."""


async def _serve(server: _Server, app: AudioConnector, sockets: list[socket.socket], stop_hooks: list[Hook]) -> None:
    try:
        await server.serve(sockets=sockets)
    except asyncio.CancelledError:  # the whole event loop is being torn down
        server.force_exit = True
        if server.started:
            await server.shutdown(sockets=sockets)
        raise
    finally:
        server.should_exit = True
        for listener in sockets:
            listener.close()
        with contextlib.suppress(TimeoutError):  # cancelled connections that still run on_disconnect
            await asyncio.wait_for(app.wait_idle(), CANCELLED_GRACE_S + 1.0)
        for hook in stop_hooks:
            await call(hook)


async def _listening(server: _Server, task: asyncio.Task[None]) -> None:
    """Wait until the server listens; where it fails before, raise why."""
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
    if not server.listening.is_set():
        await asyncio.shield(task)


async def _bind(host: str, port: int) -> list[socket.socket]:
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
