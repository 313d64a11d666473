"""The ways in which an application is served, and a caller for each."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
import uvicorn
from fastapi import FastAPI
from serving import on_own_thread
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from vonage_audio_connector_server import WebSocketProtocol


class ClosedByServerError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Caller(Protocol):
    """The media router's end of one connection, whatever carries it."""

    def send(self, message: bytes | str) -> None: ...
    def receive(self) -> bytes | str: ...
    def hang_up(self) -> None: ...


@dataclass
class TestClientCaller:
    __test__ = False
    session: WebSocketTestSession

    def send(self, message: bytes | str) -> None:
        self.session.send({"type": "websocket.receive", "bytes" if isinstance(message, bytes) else "text": message})

    def receive(self) -> bytes | str:
        message = self.session.receive()
        if message["type"] == "websocket.close":
            raise ClosedByServerError(message["code"])
        received: bytes | str | None = message.get("bytes")
        return message["text"] if received is None else received

    def hang_up(self) -> None:
        self.session.close(1000)


@dataclass
class SocketCaller:
    connection: Connection

    def send(self, message: bytes | str) -> None:
        self.connection.send(message)

    def receive(self) -> bytes | str:
        try:
            return self.connection.recv(timeout=10)
        except ConnectionClosed as exc:
            raise ClosedByServerError(exc.rcvd.code if exc.rcvd else 1006) from exc

    def hang_up(self) -> None:
        self.connection.close()


Headers = list[tuple[str, str]]

UVICORNS = {"uvicorn": "websockets-sansio", "our class": WebSocketProtocol}
"""Who carries what comes over real sockets, and the class that speaks WebSocket there."""


@dataclass
class Way:
    """One way to serve an application: how it is mounted, and what carries it."""

    mount: str
    carrier: str
    shared_servers: SharedServers
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def serve(self, app: ASGIApp) -> Callable[..., Caller]:
        """Serve the application; returns what opens a connection to a path below it."""
        match self.mount:
            case "fastapi":
                outer: ASGIApp = FastAPI()
                outer.mount("/vonage", app)  # type: ignore[attr-defined]
            case "starlette":
                outer = Starlette(routes=[Mount("/vonage", app)])
            case _:
                outer = app
        prefix = "" if self.mount == "alone" else "/vonage"
        return self._on_socket(outer, prefix) if self.carrier in UVICORNS else self._on_test_client(outer, prefix)

    def _on_test_client(self, app: ASGIApp, prefix: str) -> Callable[..., Caller]:
        backend: Any = self.carrier
        client = self.stack.enter_context(TestClient(app, backend=backend))

        def dial(path: str = "/", headers: Headers | None = None) -> Caller:
            session = client.websocket_connect(prefix + path, headers=httpx2.Headers(headers or []))
            return TestClientCaller(self.stack.enter_context(session))

        return dial

    def _on_socket(self, app: ASGIApp, prefix: str) -> Callable[..., Caller]:
        port = self.shared_servers.serve(self.carrier, app)
        self.stack.callback(self.shared_servers.serve, self.carrier, nothing)

        def dial(path: str = "/", headers: Headers | None = None) -> Caller:
            url = f"ws://127.0.0.1:{port}{prefix}{path}"
            # Whatever it doesn't read must not keep it from seeing the close.
            connection = connect(url, compression=None, additional_headers=headers, proxy=None, max_queue=None)
            return SocketCaller(self.stack.enter_context(connection))

        return dial


class SharedServers:
    """One uvicorn of each kind for all tests, because starting and stopping one takes 0.3 s."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self._ports: dict[str, int] = {}
        self._served: dict[str, ASGIApp] = {}

    def serve(self, carrier: str, app: ASGIApp) -> int:
        """Put an application onto the uvicorn of this kind; returns its port."""
        self._served[carrier] = app
        if carrier not in self._ports:

            async def switch(scope: Scope, receive: Receive, send: Send) -> None:
                await self._served[carrier](scope, receive, send)

            ws: Any = UVICORNS[carrier]
            config = uvicorn.Config(switch, log_config=None, lifespan="off", ws=ws, timeout_graceful_shutdown=10)
            self._ports[carrier] = self.stack.enter_context(on_own_thread(config))
        return self._ports[carrier]


class Told:
    """What handlers of another thread tell the test, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def __call__(self, *values: Any) -> None:
        self._queue.put(values[0] if len(values) == 1 else values)

    def next(self) -> Any:
        return self._queue.get(timeout=10)

    def rest(self) -> list[Any]:
        values = []
        while not self._queue.empty():
            values.append(self._queue.get())
        return values


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("no application is being served")
