"""Starts a server in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
from functools import partial
from typing import Any

import uvicorn

from ..asgi import AudioConnector
from ..call.call import CANCELLED_GRACE_S
from ..calls import SERVERS, Calls
from ..config import AudioConnectorServerConfig, Hook, WebSocketImplementation, shared_options
from ..errors import AudioConnectorStartServerError
from ..link.websocket import WebSocketProtocol
from ..steps import call
from .handle import AudioConnectorServerHandle
from .http import make_http
from .served import ServedApp
from .sockets import bind, is_public
from .tls_check import check_certificate
from .uvicorn_server import Server

logger = logging.getLogger("vonage_audio_connector_server")

PING_S = 20.0
"""The peer is pinged this often and has as long to answer; the reference SDK's numbers, which the router answers."""

STOP_S = 10
"""How long open connections have to end by themselves when the server stops, before they are cancelled."""

MAX_OTHER_BYTES = 16 * 1024 * 1024
"""Of a message to a WebSocket of an app that is no connector's: uvicorn's number."""

LIFESPAN_FAILED = "the start-up of the application failed: the log of 'uvicorn.error' has its traceback"


async def start_server(config: AudioConnectorServerConfig) -> AudioConnectorServerHandle:
    """Start a server in the running event loop; it listens, and `on_start` has run, when this returns.

    Raises:
        AudioConnectorStartServerError: the host can't be resolved, the port can't be had, what `ws` names is not
            installed, or `on_start` failed. The cause is kept, and nothing is left listening.
    """
    ws_protocol = _find_ws_protocol(config.ws)
    if config.ssl is not None:
        check_certificate(config.ssl)
    sockets = await bind(config.host, config.port)
    calls = Calls()
    SERVERS.add(calls)
    app: Any = config.app
    if app is None:
        # on_start runs when the port is open, as in the reference SDK, and not in the lifespan, which comes before.
        app = AudioConnector(**(shared_options(config) | {"on_start": None, "on_stop": None, "console": False}))
    connector = app if isinstance(app, AudioConnector) else None
    console = None if connector is None else connector.console
    if config.console and console is None:
        from ..console import ConsoleMiddleware  # only then: it takes the simulator, which no server needs

        app = ConsoleMiddleware(app, calls, anywhere=config.console == "anywhere")
        console = app.console
    server = Server(
        uvicorn.Config(
            ServedApp(app, calls),
            lifespan="off" if config.app is None else "auto",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            # For each wake-up asyncio accepts so many, and where no file descriptor is left it logs each.
            backlog=1,
            http=partial(make_http, config.ssl),  # type: ignore[arg-type]
            ws=ws_protocol,
            ws_max_size=config.max_message_bytes if config.app is None else MAX_OTHER_BYTES,
            ws_per_message_deflate=False,  # PCM grows under it
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
        ),
        calls,
    )
    stop_hooks: list[Hook] = []
    task = asyncio.create_task(_serve(server, sockets, stop_hooks))
    handle = AudioConnectorServerHandle(
        config.host, sockets[0].getsockname()[1], secure=config.ssl is not None, server=server, task=task
    )
    try:
        await _listening(server, task)
        if config.on_start is not None:
            await call(config.on_start)
    except BaseException as exc:  # a cancellation, too, must leave nothing listening
        server.should_exit = True
        with contextlib.suppress(Exception):  # the first error is the one to tell
            await handle.wait_closed()
        if isinstance(exc, AudioConnectorStartServerError):
            raise
        if isinstance(exc, Exception):
            raise AudioConnectorStartServerError(f"the server was not started: {exc!r}") from exc
        raise
    if config.on_stop is not None:
        stop_hooks.append(config.on_stop)
    if any(is_public(listener) for listener in sockets):
        calls.open_address = handle.get_address()
        if connector is not None and connector.config.authorize is None:
            calls.tell_open()  # of the connectors in another application the first one that is called tells
    logger.info("listening on %s", handle.get_address())
    if console is not None:
        handle.console_url = f"{_page_address(handle)}{console.link}"
        console.tell(_page_address(handle))
    return handle


def _page_address(handle: AudioConnectorServerHandle) -> str:
    """The address for a browser on this machine."""
    host = "127.0.0.1" if handle.host in ("0.0.0.0", "::", "*") else handle.host
    return f"{'https' if handle.secure else 'http'}://{f'[{host}]' if ':' in host else host}:{handle.port}"


def _find_ws_protocol(name: WebSocketImplementation) -> type[asyncio.Protocol] | str:
    """The class that speaks WebSocket, or uvicorn's name of it."""
    if name == "wsproto":
        if importlib.util.find_spec("wsproto") is None:
            raise AudioConnectorStartServerError("ws='wsproto' needs wsproto: pip install wsproto")
        return name
    return WebSocketProtocol if name == "auto" else name


async def _serve(server: Server, sockets: list[socket.socket], stop_hooks: list[Hook]) -> None:
    try:
        await server.serve(sockets=sockets)
    except SystemExit as exc:  # the start-up of the application's lifespan; it would end the event loop
        raise AudioConnectorStartServerError(LIFESPAN_FAILED) from exc
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
            await asyncio.wait_for(server.calls.wait_idle(), CANCELLED_GRACE_S + 1.0)
        SERVERS.discard(server.calls)
        server.calls.is_draining = False  # whoever serves the same application next lets people in
        for hook in stop_hooks:
            await call(hook)


async def _listening(server: Server, task: asyncio.Task[None]) -> None:
    """Wait until the server listens; where it fails before, raise why."""
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
    if not server.listening.is_set():
        await asyncio.shield(task)
        raise AudioConnectorStartServerError(LIFESPAN_FAILED)
