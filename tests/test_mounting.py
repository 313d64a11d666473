"""How a connector meets a web app: mounted, as a route, and in an endpoint; on both event loops and on real sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from conftest import FIRST_MESSAGE
from fastapi import Depends, FastAPI, WebSocket
from serving import dial, on_own_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from ways import ClosedByServerError, SocketCaller, TestClientCaller
from websockets.sync.connection import Connection

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorConnectionData,
    Client,
    WebSocketProtocol,
)

FRAME = bytes(range(256)) * 2 + bytes(128)

WAYS = ["asyncio", "trio", "our class", "websockets-sansio"]

Dial = Callable[..., Any]


@contextmanager
def reaching(app: ASGIApp, way: str) -> Iterator[Dial]:
    """Serve an application; yields what opens a connection to a path of it."""
    if way in ("asyncio", "trio"):
        with TestClient(app, backend=way) as client:  # type: ignore[arg-type]

            @contextmanager
            def connect(path: str) -> Iterator[TestClientCaller]:
                with client.websocket_connect(path) as session:
                    yield TestClientCaller(session)

            yield connect
        return
    ws: Any = WebSocketProtocol if way == "our class" else way
    with on_own_thread(uvicorn.Config(app, log_config=None, ws=ws, lifespan="on")) as port:

        @contextmanager
        def connect_socket(path: str) -> Iterator[SocketCaller]:
            connection: Connection
            with dial(port, path) as connection:
                yield SocketCaller(connection)

        yield connect_socket


def until_closed(caller: Any) -> int:
    while True:
        try:
            caller.receive()
        except ClosedByServerError as exc:
            return exc.code


class Model:
    """Stands for what an app loads once, and its endpoints depend on."""

    def answer(self, frame: bytes) -> bytes:
        return frame[::-1]


def get_model(connection: HTTPConnection) -> Model:
    model: Model = connection.state.model
    return model


@asynccontextmanager
async def with_model(app: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"model": Model()}


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_with_a_dependency_a_path_parameter_state_and_a_task(way: str) -> None:
    connector = AudioConnector()
    app = FastAPI(lifespan=with_model)
    told: list[object] = []

    @app.websocket("/vonage/{bot_id}")
    async def vonage(websocket: WebSocket, bot_id: str, model: Annotated[Model, Depends(get_model)]) -> None:
        async with connector.connect(websocket) as client:
            client.set_handler(on_disconnect=lambda: told.append("gone"))
            client.state.frames = 0
            third = anyio.Event()

            async def count() -> None:  # beside the loop below
                await third.wait()
                client.send_json_packet({"counted": client.state.frames})

            client.start_soon(count)
            async for message in client:
                if isinstance(message, bytes):
                    client.state.frames += 1
                    if client.state.frames == 3:
                        third.set()
                    await client.send_audio_buffer(model.answer(message))
        told.extend([bot_id, client.path_params, client.query_params["tenant"], client.state.model is model])
        assert client.close_report is not None
        told.extend([client.request.app is app, websocket.state.frames, client.close_report.code])

    with reaching(app, way) as connect:
        with connect("/vonage/anna?tenant=blue") as caller:
            caller.send(FIRST_MESSAGE)
            for _ in range(3):
                caller.send(FRAME)
            heard = [caller.receive() for _ in range(4)]
            caller.hang_up()
            eventually(lambda: len(told) == 8)
    assert [message for message in heard if isinstance(message, bytes)] == [FRAME[::-1]] * 3
    assert [message for message in heard if isinstance(message, str)] == ['{"counted":3}']
    assert told == ["gone", "anna", {"bot_id": "anna"}, "blue", True, True, 3, 1000]


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what is about to happen in the server's thread: a caller who hangs up waits for nothing of it."""
    until_s = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
def test_a_route_with_a_parameter(way: str) -> None:
    async def on_connect(client: Client) -> None:
        await client.send_json_packet({"bot": client.path_params["bot_id"], "tenant": client.query_params["tenant"]})

    connector = AudioConnector(on_connect)
    app = FastAPI(routes=[connector.route("/vonage/{bot_id}")])
    with reaching(app, way) as connect, connect("/vonage/anna?tenant=blue") as caller:
        assert caller.receive() == '{"bot":"anna","tenant":"blue"}'
        caller.hang_up()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_a_mount_answers_on_its_path_and_below_it(way: str, framework: Any) -> None:
    async def on_connect(client: Client) -> None:
        await client.send_json_packet([client.info().uri, client.request.scope["root_path"], client.path_params])

    app = framework()
    app.mount("/vonage", AudioConnector(on_connect))
    app.mount("/bots/{bot_id}", AudioConnector(on_connect))
    with reaching(app, way) as connect:
        for path in ("/vonage", "/vonage/", "/vonage?a=b", "/vonage/room/7"):
            with connect(path) as caller:
                assert caller.receive() == f'["{path}","/vonage",{{}}]'
                caller.hang_up()
        with connect("/bots/anna") as caller:
            assert caller.receive() == '["/bots/anna","/bots/anna",{"bot_id":"anna"}]'
            caller.hang_up()
        for path in ("/vonage7", "/", "/bots"):
            with pytest.raises(Exception, match=r"403|^$") as refused, connect(path):
                pass
            assert isinstance(refused.value, WebSocketDisconnect) or "403" in str(refused.value)


def test_a_mount_of_something_else_is_as_it_was() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})

    AudioConnector()
    with TestClient(Starlette(routes=[Mount("/other", echo)])) as client:
        with client.websocket_connect("/other/") as session:
            assert session.receive_text() == "/other/"
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/other"):
            pass


def test_a_mount_with_middleware_answers_without_the_slash() -> None:
    class Through:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

    async def on_connect(client: Client) -> None:
        await client.send_json_packet("{}")

    mount = Mount("/vonage", AudioConnector(on_connect), middleware=[Middleware(Through)])
    with TestClient(Starlette(routes=[mount])) as client, client.websocket_connect("/vonage") as session:
        assert session.receive_text() == "{}"


@pytest.mark.parametrize("way", WAYS)
def test_what_authorize_returns_is_the_identity(way: str) -> None:
    def authorize(info: AudioConnectorConnectionData) -> object:
        name = info.uri.rpartition("=")[2]
        return {"name": name, "peer": info.peer is not None} if name != "eve" else None

    async def on_connect(client: Client) -> None:
        await client.send_json_packet(client.identity)

    connector = AudioConnector(on_connect, authorize=authorize)
    with reaching(connector, way) as connect:
        with connect("/?as=ann") as caller:
            assert caller.receive() == '{"name":"ann","peer":true}'
            caller.hang_up()
        with pytest.raises(Exception, match=r"403|^$"), connect("/?as=eve"):
            pass


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_refuses_whom_authorize_refuses(way: str) -> None:
    connector = AudioConnector(authorize=lambda info: False)
    full = AudioConnector(max_connections=1)
    app = FastAPI()
    entered: list[str] = []

    @app.websocket("/closed")
    async def closed(websocket: WebSocket) -> None:
        async with connector.connect(websocket):
            entered.append("closed")

    @app.websocket("/one")
    async def one(websocket: WebSocket) -> None:
        async with full.connect(websocket) as client:
            entered.append("one")
            await client.wait_closed()

    def status_of(path: str) -> int:
        try:
            with connect(path):
                return 101
        except WebSocketDenialResponse as exc:
            return exc.status_code
        except Exception as exc:  # noqa: BLE001 (websockets' InvalidStatus)
            return exc.response.status_code  # type: ignore[attr-defined, no-any-return]

    with reaching(app, way) as connect:
        assert status_of("/closed") == 403
        with connect("/one") as caller:
            caller.send(FIRST_MESSAGE)
            assert status_of("/one") == 503
            caller.hang_up()
    assert entered == ["one"]


@pytest.mark.parametrize("way", WAYS)
def test_leaving_the_block_ends_the_call(way: str) -> None:
    connector = AudioConnector()
    app = FastAPI()
    told: list[object] = []

    @app.websocket("/vonage")
    async def vonage(websocket: WebSocket) -> None:
        async with connector.connect(websocket) as client:
            client.set_handler(on_disconnect=lambda: told.append("gone"))
            await client.wait_format()
        told.append((client.close_report and client.close_report.closed_by, connector.connections))

    with reaching(app, way) as connect, connect("/vonage") as caller:
        caller.send(FIRST_MESSAGE)
        assert until_closed(caller) == 1000
    assert told == ["gone", ("program", 0)]


@pytest.mark.parametrize("way", ["asyncio", "trio", "our class"])
def test_an_error_in_the_block_closes_with_1011_and_is_the_endpoints(way: str) -> None:
    connector = AudioConnector()
    caught: list[Exception] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        try:
            async with connector.connect(WebSocket(scope, receive, send)) as client:
                await client.wait_format()
                raise LookupError("no such bot")
        except LookupError as exc:
            caught.append(exc)

    app = Starlette(routes=[Mount("/", endpoint)])
    with reaching(app, way) as connect, connect("/") as caller:
        caller.send(FIRST_MESSAGE)
        assert until_closed(caller) == 1011
    assert [str(error) for error in caught] == ["no such bot"]


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_call_ends_waits_in_the_block_quietly(way: str, caplog: pytest.LogCaptureFixture) -> None:
    connector = AudioConnector()
    app = FastAPI()
    told: list[str] = []

    @app.websocket("/vonage")
    async def vonage(websocket: WebSocket) -> None:
        async with connector.connect(websocket) as client:
            report = await client.wait_closed()
            told.append(f"closed by the {report.closed_by}")
            await client.send_audio_buffer(FRAME)  # it is over: the block ends here, and no traceback is logged
            told.append("never")
        told.append("left")

    with reaching(app, way) as connect:
        with connect("/vonage") as caller:
            caller.send(FIRST_MESSAGE)
            caller.hang_up()
            eventually(lambda: len(told) == 2)
    assert told == ["closed by the session", "left"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("way", WAYS)
def test_a_block_that_waits_for_something_else_is_cancelled_after_the_grace(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.call.call.GRACE_S", 0.05)
    connector = AudioConnector()
    app = FastAPI()
    told: list[str] = []

    @app.websocket("/vonage")
    async def vonage(websocket: WebSocket) -> None:
        async with connector.connect(websocket):
            try:
                await anyio.sleep_forever()
            finally:
                told.append("cancelled")
        told.append("left")  # the endpoint goes on

    with reaching(app, way) as connect, connect("/vonage") as caller:
        caller.send(FIRST_MESSAGE)
        caller.hang_up()
        eventually(lambda: told == ["cancelled", "left"])


def test_on_connect_runs_beside_the_block() -> None:
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        told.append("on_connect")

    connector = AudioConnector(on_connect)
    app = FastAPI()

    @app.websocket("/vonage")
    async def vonage(websocket: WebSocket) -> None:
        async with connector.connect(websocket) as client:
            await client.wait_format()
            told.append("block")

    with TestClient(app) as client, client.websocket_connect("/vonage") as session:
        session.send_text(FIRST_MESSAGE)
        assert session.receive()["type"] == "websocket.close"
    assert told == ["on_connect", "block"]


@pytest.mark.parametrize("way", WAYS)
def test_who_accepts_first_is_told_not_to(way: str) -> None:
    connector = AudioConnector()
    app = FastAPI()
    errors: list[str] = []

    @app.websocket("/raw")
    async def raw(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await connector(websocket.scope, websocket.receive, websocket.send)
        except AudioConnectorConfigError as exc:
            errors.append(str(exc))
        await websocket.close()

    @app.websocket("/block")
    async def block(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            async with connector.connect(websocket):
                errors.append("entered")
        except AudioConnectorConfigError as exc:
            errors.append(str(exc))
        await websocket.close()

    with reaching(app, way) as connect:
        with connect("/raw") as caller:
            caller.send(FIRST_MESSAGE)
            assert until_closed(caller) == 1000
        with connect("/block") as caller:
            assert until_closed(caller) == 1000
    assert len(errors) == 2
    assert all("don't accept it first" in error for error in errors)


class Watching:
    """A middleware that sees what passes."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_receive() -> Message:
            message = await receive()
            self.seen.append(f"> {message['type']} {message.get('code', '')}".strip())
            return message

        async def watched_send(message: Message) -> None:
            self.seen.append(f"< {message['type']} {message.get('code', '')}".strip())
            await send(message)

        if scope["type"] == "websocket":
            await self.app(scope, watched_receive, watched_send)
        else:
            await self.app(scope, receive, send)


@pytest.mark.parametrize("hangs_up", [True, False])
@pytest.mark.parametrize("form", ["mount", "block"])
def test_under_our_class_middleware_sees_the_handshake_and_the_end(form: str, hangs_up: bool) -> None:
    async def serve(client: Client) -> None:
        with anyio.move_on_after(5):
            async for message in client:
                if isinstance(message, bytes):
                    await client.send_audio_buffer(message)
                    if not hangs_up:
                        client.disconnect(4001)

    connector = AudioConnector(serve)
    seen: list[str] = []
    app = FastAPI()
    if form == "mount":
        app.mount("/vonage", connector)
    else:
        alone = AudioConnector()

        @app.websocket("/vonage")
        async def vonage(websocket: WebSocket) -> None:
            async with alone.connect(websocket) as client:
                await serve(client)

    with reaching(Watching(app, seen), "our class") as connect, connect("/vonage") as caller:
        caller.send(FIRST_MESSAGE)
        caller.send(FRAME)
        if hangs_up:
            assert caller.receive() == FRAME
            caller.hang_up()
        else:
            assert until_closed(caller) == 4001
    end = ["> websocket.disconnect 1000"] if hangs_up else ["< websocket.close 4001", "> websocket.disconnect 4001"]
    assert seen == ["> websocket.connect", "< websocket.accept", *end]


def test_a_health_check_can_tell_that_it_stops() -> None:
    connector = AudioConnector()
    assert not connector.draining
    anyio.run(connector.drain)
    assert connector.draining


def test_what_runs_beside_the_call_is_checked_and_told() -> None:
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_error=lambda error: told.append(repr(error)))
        with pytest.raises(AudioConnectorConfigError, match="can't be called with 2 arguments"):
            client.start_soon(beside, 1, 2)
        client.start_soon(beside, "x")
        await client.wait_format()
        await client.disconnect()
        with pytest.raises(AudioConnectorClosedError):
            client.start_soon(beside, "y")

    async def beside(word: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError(word)

    for backend in ("asyncio", "trio"):
        told.clear()
        with TestClient(AudioConnector(on_connect), backend=backend) as client:
            with client.websocket_connect("/") as session:
                session.send_text(FIRST_MESSAGE)
                session.receive()
        assert told == ["ValueError('x')"]


@pytest.mark.parametrize("is_entered", [True, False])
def test_an_on_start_that_never_ran_is_told_once(is_entered: bool, caplog: pytest.LogCaptureFixture) -> None:
    connector = AudioConnector(on_start=lambda: None)
    app = FastAPI(lifespan=connector.lifespan if is_entered else None)
    app.mount("/vonage", connector)
    with TestClient(app) as client:
        for _ in range(2):
            with client.websocket_connect("/vonage"):
                pass
    told = [record.getMessage() for record in caplog.records if "on_start" in record.getMessage()]
    assert len(told) == (0 if is_entered else 1)
    assert is_entered or "async with connector.lifespan(app)" in told[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hangs_up", [False, True])
def test_what_comes_between_the_accept_and_the_call_is_not_lost(
    way: str, hangs_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = AudioConnector._serve

    async def serve_late(*args: Any) -> None:
        await anyio.sleep(0.1)
        await serve(*args)

    monkeypatch.setattr(AudioConnector, "_serve", serve_late)
    connector = AudioConnector()
    app = FastAPI()
    heard: list[bytes | str] = []

    @app.websocket("/vonage")
    async def vonage(websocket: WebSocket) -> None:
        async with connector.connect(websocket) as client:
            heard.extend([message async for message in client])
        heard.append("over")

    with reaching(app, way) as connect, connect("/vonage") as caller:
        caller.send(FIRST_MESSAGE)
        for number in range(3):
            caller.send(bytes([number]) * 640)
        if not hangs_up:
            eventually(lambda: bool(connector._calls.live))
        caller.hang_up()
        eventually(lambda: heard[-1:] == ["over"])
    assert heard == [FIRST_MESSAGE, *(bytes([number]) * 640 for number in range(3)), "over"]
