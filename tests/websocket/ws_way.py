"""How the WebSocket tests serve an app: with which protocol class, on which event loop, in the clear or over TLS.

uvicorn's own `Server` serves, in the same loop as the test's peer. At the end no connection and no task may be left,
the event loop must have had no exception that nobody took, and the log no error that the test doesn't expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import trustme
import uvicorn
from starlette.types import ASGIApp

from vonage_audio_connector_server.server.http import make_http

from .ws_peer import KERNEL_BYTES, Answer, Peer

LIMIT_S = 20.0

ProtocolName = Literal["ours", "sansio", "wsproto"]
CLASSES: dict[ProtocolName, str] = {
    "ours": "vonage_audio_connector_server.link.websocket:WebSocketProtocol",
    "sansio": "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    "wsproto": "uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
}


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the peer's TLS, made once: an authority takes time."""
    authority = trustme.CA()
    server, peer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(peer)
    return server, peer


class Stage:
    """A server that runs, as the test's peer sees it."""

    def __init__(self, server: uvicorn.Server, port: int, tls: ssl.SSLContext | None) -> None:
        self.server, self.port, self.tls = server, port, tls

    @contextlib.asynccontextmanager
    async def socket(self) -> AsyncIterator[Peer]:
        """A connection on which nothing has been asked for."""
        peer = await Peer.connect(self.port, self.tls)
        try:
            yield peer
        finally:
            peer.writer.transport.abort()

    @contextlib.asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A connection that the app has accepted."""
        async with self.socket() as peer:
            peer.request()
            assert (await peer.answer()).status == 101
            yield peer

    async def answer(self, *lines: str) -> tuple[Answer, bytes]:
        """The whole answer to a request that is not accepted."""
        async with self.socket() as peer:
            peer.request(*lines)
            return await peer.answer(), await peer.ended()

    @property
    def protocol(self) -> Any:
        """The server's protocol object of the only connection."""
        [protocol] = self.server.server_state.connections
        return protocol

    async def empty(self) -> None:
        """Wait until the server has neither a connection nor a task."""
        state = self.server.server_state
        while state.connections or state.tasks:  # noqa: ASYNC110 -- uvicorn tells nobody
            await asyncio.sleep(0.001)


Talk = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Way:
    """One way of serving; `run` serves an app while `talk` runs."""

    protocol: ProtocolName
    loop: Literal["asyncio", "uvloop"]
    layer: Literal["clear", "tls", "own tls"]  # own: as our own server has it, and not the event loop's

    def __str__(self) -> str:
        return f"{self.protocol}-{self.loop}-{self.layer.replace(' ', '-')}"

    @property
    def secure(self) -> bool:
        return self.layer != "clear"

    @property
    def protocol_class(self) -> type[asyncio.Protocol]:
        module, _, name = CLASSES[self.protocol].partition(":")
        found: type[asyncio.Protocol] = getattr(importlib.import_module(module), name)
        return found

    def skip_what_is_not_installed(self) -> None:
        try:
            assert self.protocol_class
        except ImportError as exc:  # its message is the clear sentence
            pytest.skip(str(exc))
        if self.loop == "uvloop":
            pytest.importorskip("uvloop")

    def run(self, app: ASGIApp, talk: Talk, *, logs_errors: bool = False, **settings: Any) -> None:
        """Serve `app` while `talk` runs; `settings` are uvicorn's; `logs_errors`: the server's log must have some."""
        faults: list[str] = []
        with asyncio.Runner(loop_factory=self._loop_factory()) as runner, _errors_logged() as errors:
            runner.get_loop().set_exception_handler(lambda _loop, context: faults.append(str(context)))
            runner.run(self._serve(app, talk, settings))
        assert faults == []
        assert bool(errors) == logs_errors, errors

    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        if self.loop == "asyncio":
            return asyncio.new_event_loop
        new: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return new

    async def _serve(self, app: ASGIApp, talk: Talk, settings: dict[str, Any]) -> None:
        tls_server, tls_peer = contexts() if self.secure else (None, None)
        settings["http"] = "h11"
        if self.layer == "own tls":
            settings["http"] = functools.partial(make_http, tls_server)
        elif tls_server is not None:
            settings["ssl_context_factory"] = lambda _config, _default: tls_server
        config = uvicorn.Config(
            app,
            ws=self.protocol_class,
            lifespan="off",
            log_config=None,
            **{"ws_per_message_deflate": False, **settings},
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # whoever is accepted inherits them
                listener.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)
            stage = Stage(server, listener.getsockname()[1], tls_peer)
            async with asyncio.timeout(LIMIT_S):
                await server.startup(sockets=[listener])
                try:
                    await talk(stage)
                    await stage.empty()
                finally:
                    for listening in server.servers:
                        listening.close()


@contextlib.contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What the server logs as an error."""
    errors: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(self.format(record))

    handler = Handler(logging.ERROR)
    loggers = [logging.getLogger("uvicorn.error"), logging.getLogger("vonage_audio_connector_server")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield errors
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
