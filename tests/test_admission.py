"""Who is let in: over real sockets as HTTP answers, and under TestClient."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest
from conftest import FIRST_MESSAGE
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConnectionData,
    AudioConnectorServerConfig,
    AudioConnectorServerHandle,
    Client,
    OneTimeTokens,
    SharedSecret,
    Video,
)
from vonage_audio_connector_server.call.call import Call

pytestmark = pytest.mark.anyio
on_both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

SECRET = "correct horse battery staple"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the server's


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[AudioConnectorServerHandle]:
    options.setdefault("host", "127.0.0.1")
    handle = await Video().start_audio_connector_server(AudioConnectorServerConfig(port=0, **options))
    try:
        yield handle
    finally:
        await handle.stop(0)


async def knock(handle: AudioConnectorServerHandle, path: str = "/", **headers: str) -> int:
    """Try to connect; returns the HTTP status."""
    try:
        async with connect(f"ws://127.0.0.1:{handle.port}{path}", additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code if not exc.response.body else -1  # nothing is told to strangers


async def test_what_authorize_says_is_the_http_answer() -> None:
    asked: list[AudioConnectorConnectionData] = []
    answers: list[bool | Exception] = [True, False, ValueError("the table is away"), True]

    def authorize(info: AudioConnectorConnectionData) -> bool:
        asked.append(info)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(authorize=authorize) as handle:
        statuses = [await knock(handle, f"/room?n={number}") for number in range(4)]
    assert statuses == [101, 403, 500, 101]
    assert [info.uri for info in asked] == [f"/room?n={number}" for number in range(4)]
    assert len({info.id for info in asked}) == 4


async def test_an_authorize_that_waits_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def authorize(info: AudioConnectorConnectionData) -> bool:
        await asyncio.sleep(0 if "quick" in info.uri else 3_600)
        return "yes" in info.uri

    async with serving(authorize=authorize) as handle:
        assert await knock(handle, "/quick/yes") == 101
        assert await knock(handle, "/quick/no") == 403
        monkeypatch.setattr("vonage_audio_connector_server.admission.gate.AUTHORIZE_S", 0.05)
        assert await knock(handle, "/slow/yes") == 503


async def test_one_more_than_max_connections_gets_503_until_one_leaves() -> None:
    asked = 0
    refused: list[int] = []

    async def authorize(info: AudioConnectorConnectionData) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return True

    async def enter(handle: AudioConnectorServerHandle) -> ClientConnection | None:
        try:
            return await connect(handle.get_address(), proxy=None)
        except InvalidStatus as exc:
            refused.append(exc.response.status_code)
            return None

    async with serving(authorize=authorize, max_connections=2) as handle:
        calls = await asyncio.gather(*(enter(handle) for _ in range(5)))  # all of them are asked at the same time
        inside = [call for call in calls if call is not None]
        assert len(inside) == 2
        assert refused == [503] * 3
        assert asked == 5
        assert await knock(handle) == 503
        assert asked == 5  # a token would have been used up
        await inside[0].close()
        async with asyncio.timeout(5):
            while await knock(handle) != 101:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0.01)
        await inside[1].close()


async def test_a_refused_handshake_costs_no_task_and_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    tasks: list[int] = []
    monkeypatch.setattr(Call, "__init__", lambda self, *args: made.append("connection"))
    monkeypatch.setattr(Client, "__init__", lambda self, *args: made.append("client"))

    def authorize(info: AudioConnectorConnectionData) -> bool:
        tasks.append(len(asyncio.all_tasks()))
        return False

    async with serving(authorize=authorize) as handle:
        before = len(asyncio.all_tasks())
        for _ in range(200):
            assert await knock(handle) == 403
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 (nor here)
                await asyncio.sleep(0.01)
        gc.collect()
    assert made == []
    # uvicorn runs the application in one, websockets' client in another
    assert max(tasks) - min(tasks) <= 1


async def test_strangers_write_no_errors_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(authorize=lambda info: "yes" in info.uri, max_connections=1) as handle:
        assert await knock(handle) == 403
        async with connect(f"{handle.get_address()}/yes", proxy=None):
            assert await knock(handle, "/yes") == 503
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert [text for text in caplog.messages if "HTTP 503, all 1 connections are taken" in text]


async def test_tokens_and_secrets_on_a_real_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = OneTimeTokens("0123456789abcdef0123456789abcdef")
    async with serving(authorize=tokens) as handle:
        path = tokens.mint_uri(f"ws://127.0.0.1:{handle.port}/room?a=1").partition(str(handle.port))[2]
        token = path.partition("token=")[2]
        assert [await knock(handle, path), await knock(handle, path), await knock(handle, "/room?a=1")] == [
            101,
            403,
            403,
        ]
    async with serving(authorize=SharedSecret(SECRET, header="authorization")) as handle:
        assert await knock(handle, Authorization=f"Bearer {SECRET}") == 101
        assert await knock(handle, Authorization="Bearer something else") == 403
    async with serving(authorize=SharedSecret(SECRET, query="secret")) as handle:
        assert await knock(handle, f"/?secret={SECRET.replace(' ', '%20')}") == 101
        assert await knock(handle) == 403
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
    assert len(ours) > 10
    assert not any(token in line or "horse" in line or "something else" in line for line in ours)


async def test_ten_thousand_wrong_tokens_over_the_application_itself() -> None:
    """Forged, truncated, of another key, used: straight at the ASGI application, because handshakes cost more."""
    tokens = OneTimeTokens("0123456789abcdef0123456789abcdef")
    foreign = OneTimeTokens("f123456789abcdef0123456789abcdef")
    entered = 0

    async def on_connect(client: Client) -> None:
        nonlocal entered
        entered += 1

    app = AudioConnector(on_connect, authorize=tokens)

    async def status(token: str) -> int:
        sent: list[Any] = []
        coming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        extensions: dict[str, Any] = {"websocket.http.response": {}}
        query = f"token={token}".encode()
        scope = {"type": "websocket", "path": "/", "query_string": query, "headers": [], "extensions": extensions}
        await app(scope, receive, send)
        return {"websocket.accept": 101, "websocket.close": 403}[sent[0]["type"]]

    for number in range(2_000):
        genuine = tokens.mint()
        flipped = ("A" if genuine[number % 76] != "A" else "B").join(
            (genuine[: number % 76], genuine[number % 76 + 1 :])
        )
        wrong = [foreign.mint(), genuine[: number % 76], genuine + "A", flipped]
        assert {await status(token) for token in wrong} == {403}
        assert await status(genuine) == 101
        assert await status(genuine) == 403  # it has been used
    assert entered == 2_000


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_under_test_client_and_mounted(backend: Literal["asyncio", "trio"]) -> None:
    connector = AudioConnector(authorize=SharedSecret(SECRET, header="x-secret"), max_connections=1)
    app = Starlette(routes=[Mount("/vonage", connector)])
    with TestClient(app, backend=backend) as client:
        with pytest.raises(WebSocketDisconnect):  # TestClient's word for a 403
            with client.websocket_connect("/vonage/"):
                pass
        with client.websocket_connect("/vonage/", headers={"x-secret": SECRET}) as session:
            session.send_text(FIRST_MESSAGE)
            with pytest.raises(WebSocketDenialResponse) as refused:
                with client.websocket_connect("/vonage/", headers={"x-secret": SECRET}):
                    pass
            assert refused.value.status_code == 503
        assert connector.connections in (0, 1)


async def refused_by(scope: dict[str, Any], authorize: Callable[[AudioConnectorConnectionData], bool]) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await AudioConnector(authorize=authorize)(scope, receive, send)
    return sent


@on_both
async def test_a_server_without_http_answers_gets_a_close_before_the_accept(anyio_backend: str) -> None:
    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
    assert await refused_by(scope, lambda info: False) == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@on_both
async def test_the_secret_is_masked_for_the_log_of_the_server_and_nothing_else_is(anyio_backend: str) -> None:
    authorize = SharedSecret(SECRET, query="key")
    query = b"room=7&key=correct%20horse&%6bey=x&keys=1&key=&flag"
    scope = {"type": "websocket", "path": "/", "query_string": query, "headers": []}
    await refused_by(scope, authorize)
    assert scope["query_string"] == b"room=7&key=***&%6bey=***&keys=1&key=***&flag"


@pytest.mark.parametrize(
    ("host", "authorize", "warned"),
    [
        ("0.0.0.0", None, 1),
        ("127.0.0.1", None, 0),
        ("localhost", None, 0),
        ("0.0.0.0", SharedSecret(SECRET, query="s"), 0),
    ],
)
async def test_an_open_public_address_is_warned_of_once(
    host: str, authorize: SharedSecret | None, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(host=host, authorize=authorize):
        pass
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == warned
    assert all("lets everybody in: set authorize" in text for text in warnings)


@on_both
async def test_draining_refuses_new_ones_and_lets_the_said_end(anyio_backend: str) -> None:
    app = AudioConnector()
    await app.drain(1.0)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    extensions: dict[str, Any] = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": [], "extensions": extensions}
    with anyio.fail_after(5):
        await app(scope, receive, send)
    assert sent[0]["status"] == 503


@on_both
async def test_max_connections_holds_while_accepts_are_being_written(anyio_backend: str) -> None:
    accepted = 0

    async def slow_send(message: Any) -> None:
        nonlocal accepted
        await anyio.sleep(0.01)
        accepted += message["type"] == "websocket.accept"

    app = AudioConnector(max_connections=2)

    async def enter() -> None:
        coming = [{"type": "websocket.connect"}]

        async def receive() -> Any:
            if not coming:
                await anyio.sleep(0.1)
                return {"type": "websocket.disconnect", "code": 1000}
            return coming.pop()

        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
        await app(scope, receive, slow_send)

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(enter)
    assert accepted == 2
    assert app.connections == 0


async def test_an_authorize_that_waited_for_a_cancelled_task_refuses() -> None:
    async def authorize(info: AudioConnectorConnectionData) -> bool:
        lookup = asyncio.create_task(asyncio.sleep(60, result=True))
        lookup.cancel()
        return await lookup

    async with serving(authorize=authorize) as handle:
        assert await knock(handle) == 500
