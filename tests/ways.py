"""The ways in which an application is served, and a caller for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
from websockets.sync.client import ClientConnection, connect


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
    connection: ClientConnection

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


@dataclass
class Way:
    """One way to serve an application: how it is mounted, and what carries it."""

    mount: str
    carrier: str
    shared_server: Callable[[ASGIApp], int]  # puts an application onto the one uvicorn, returns its port
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
        return self._on_socket(outer, prefix) if self.carrier == "uvicorn" else self._on_test_client(outer, prefix)

    def _on_test_client(self, app: ASGIApp, prefix: str) -> Callable[..., Caller]:
        backend: Any = self.carrier
        client = self.stack.enter_context(TestClient(app, backend=backend))

        def dial(path: str = "/", headers: Headers | None = None) -> Caller:
            session = client.websocket_connect(prefix + path, headers=httpx2.Headers(headers or []))
            return TestClientCaller(self.stack.enter_context(session))

        return dial

    def _on_socket(self, app: ASGIApp, prefix: str) -> Callable[..., Caller]:
        port = self.shared_server(app)
        self.stack.callback(self.shared_server, nothing)

        def dial(path: str = "/", headers: Headers | None = None) -> Caller:
            url = f"ws://127.0.0.1:{port}{prefix}{path}"
            connection = connect(url, compression=None, additional_headers=headers, proxy=None)
            return SocketCaller(self.stack.enter_context(connection))

        return dial


@contextlib.contextmanager
def run_uvicorn(app: ASGIApp) -> Iterator[int]:
    """uvicorn, as users run it, in a thread of its own; yields the port."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=10)
    with on_own_thread(config) as port:
        yield port


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("no application is being served")
