"""`POST /connect`: who may, what it takes and answers, and that what it has started ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from serving import on_own_thread
from starlette.applications import Starlette

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    Client,
    OneTimeTokens,
    SharedSecret,
    Video,
    WebSocketProtocol,
)
from vonage_audio_connector_server.live import session_audio
from vonage_audio_connector_server.live.credentials import Credentials

from .fake_api import FakeAPI, never

SECRET = "s" * 32
GUARD = SharedSecret(SECRET, header="authorization")
HEADERS = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
def platform() -> str:
    return "project"


async def echo(client: Client) -> None:
    async for message in client:
        if isinstance(message, bytes):
            client.send_audio_buffer(message)


class Served:
    """A FastAPI app with a connector and its route, under uvicorn."""

    def __init__(self, credentials: Credentials) -> None:
        self.connector = AudioConnector(echo, authorize=OneTimeTokens("k" * 32))
        self.app = FastAPI(lifespan=self.connector.lifespan)
        self.app.mount("/vonage", self.connector)
        self.credentials = credentials
        self.port = 0

    def uvicorn(self) -> uvicorn.Config:
        # uvicorn's own WebSocket class logs the whole request at DEBUG; ours doesn't.
        return uvicorn.Config(self.app, log_config=None, ws=WebSocketProtocol)

    def add(self, uri: str = "", **settings: Any) -> None:
        settings = {"authorize": GUARD, "credentials": self.credentials} | settings
        # The port is known only when it listens, so the route is added then.
        uri = uri or f"ws://127.0.0.1:{self.port}/vonage"
        self.app.router.routes.append(self.connector.connect_route(uri=uri, **settings))

    def post(self, body: Any = None, **options: Any) -> httpx2.Response:
        options = {"headers": HEADERS} | ({} if body is None else {"json": body}) | options
        return httpx2.post(f"http://127.0.0.1:{self.port}/connect", timeout=20, trust_env=False, **options)


@pytest.fixture
def served(credentials: Credentials) -> Iterator[Served]:
    served = Served(credentials)
    with on_own_thread(served.uvicorn()) as served.port:
        yield served


def test_it_starts_the_audio_and_the_shutdown_ends_it(fake: FakeAPI, credentials: Credentials, session_id: str) -> None:
    served = Served(credentials)
    with on_own_thread(served.uvicorn()) as served.port:
        served.add()
        answer = served.post({"sessionId": session_id, "streams": ["s-1"], "headers": {"room": "the-seventh"}})
        (leg,) = fake.legs.values()
        assert (answer.status_code, answer.json()) == (
            200,
            {"id": "b0a70000", "connectionId": leg.connection_id, "sessionId": session_id},
        )
        websocket = fake.connects[0].body["websocket"]
        assert websocket["streams"] == ["s-1"]
        assert websocket["headers"] == {"room": "the-seventh"}
        assert served.connector.connections == 1
        assert not fake.disconnects
    assert len(fake.disconnects) == 1
    assert leg.over.wait(10)


def test_the_end_of_the_socket_ends_it(served: Served, fake: FakeAPI, session_id: str) -> None:
    served.add()
    assert served.post({"sessionId": session_id}).status_code == 200
    (leg,) = fake.legs.values()
    leg.hang_up()  # the session is over
    assert fake.disconnected.wait(10)  # it is told that all is well, when nobody is there
    assert leg.over.wait(10)


def test_time_ends_it(served: Served, fake: FakeAPI, session_id: str) -> None:
    served.add(for_s=0.2)
    assert served.post({"sessionId": session_id}).status_code == 200
    (leg,) = fake.legs.values()
    assert fake.disconnected.wait(10)
    assert leg.over.wait(10)


def test_without_a_body_it_is_the_session_of_the_route(served: Served, fake: FakeAPI, session_id: str) -> None:
    served.add(session_id=session_id)
    assert served.post().status_code == 200
    assert fake.connects[0].body["sessionId"] == session_id


def test_a_secret_in_the_query_is_not_in_the_log(
    served: Served, fake: FakeAPI, session_id: str, everything_logged: list[str]
) -> None:
    served.add(authorize=SharedSecret(SECRET, query="secret"))
    assert served.post({"sessionId": session_id}, params={"secret": SECRET}).status_code == 200
    logged = [line for line in everything_logged if line.startswith("uvicorn.access")]
    assert logged
    assert not [line for line in logged if SECRET in line]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-wrong-wrong"}])
def test_who_may_not_is_told_so(served: Served, fake: FakeAPI, session_id: str, headers: dict[str, str]) -> None:
    served.add()
    answer = served.post({"sessionId": session_id}, headers=headers)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])
    assert not fake.asked


def test_where_others_guard_it_none_is_said_so(served: Served, fake: FakeAPI, session_id: str) -> None:
    served.add(authorize=None)
    assert served.post({"sessionId": session_id}, headers={}).status_code == 200


def test_a_route_without_a_word_about_the_guard_is_not_made(credentials: Credentials) -> None:
    make: Any = AudioConnector(echo).connect_route
    with pytest.raises(TypeError, match="authorize"):
        make(uri="wss://bot.example.com/", credentials=credentials)
    for settings, told in (
        ({"authorize": "secret"}, "authorize must be asked who may start the audio of a session"),
        ({"uri": "https://bot.example.com/"}, "uri must be a ws:// or wss:// address"),
        ({"for_s": -1}, "for_s must be"),
        ({"credentials": 7}, "credentials must be"),
        ({"session_id": "a/b"}, "session_id must be an id"),
    ):
        with pytest.raises(AudioConnectorConfigError, match=told):
            make(**{"uri": "wss://bot.example.com/", "authorize": GUARD} | settings)


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"content": b"{}"}, 415, "content-type application/json"),
        ({"content": b"{", "headers": HEADERS | {"content-type": "application/json"}}, 400, "the body is no JSON"),
        ({"content": b"x" * 20_000}, 413, "the body must have 16384 bytes at most"),
        ({"json": ["a"]}, 400, "the body must be a JSON object"),
        ({"json": {}}, 400, "sessionId is missing"),
        ({"json": {"sessionId": "../x"}}, 400, "session_id must be an id"),
        (
            {"json": {"sessionId": "s-1", "uri": "wss://other.example.com/"}},
            400,
            "the body may have sessionId, streams",
        ),
        ({"json": {"sessionId": "s-1", "streams": "all"}}, 400, "streams must be a list"),
        ({"json": {"sessionId": "s-1", "headers": {"a": 7}}}, 400, "headers: the value of a must be one line of text"),
        ({"json": {"sessionId": "s-1", "audioRate": 44_100}}, 400, "rate_hz must be 8000, 16000 or 24000"),
    ],
)
def test_what_can_not_be_is_a_400(
    served: Served, fake: FakeAPI, options: dict[str, Any], status: int, told: str
) -> None:
    served.add()
    answer = served.post(**options)
    assert answer.status_code == status
    assert told in answer.json()["error"]
    assert not fake.asked


@pytest.mark.parametrize(("status", "passed_on"), [(400, 400), (403, 502), (404, 404), (409, 409), (500, 502)])
def test_a_refusal_is_passed_on(served: Served, fake: FakeAPI, session_id: str, status: int, passed_on: int) -> None:
    fake.answers = [(status, {"message": "no"})]
    served.add()
    answer = served.post({"sessionId": session_id})
    assert answer.status_code == passed_on
    assert f"HTTP {status}" in answer.json()["error"]


def test_a_socket_that_never_comes_is_a_504(
    served: Served, fake: FakeAPI, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "ARRIVE_S", 0.2)
    fake.router = never
    served.add()
    answer = served.post({"sessionId": session_id})
    assert answer.status_code == 504
    assert "no socket came within 0.2 s" in answer.json()["error"]
    assert len(fake.disconnects) == 1


def test_a_server_without_credentials_is_a_500(
    served: Served, fake: FakeAPI, session_id: str, everything_logged: list[str], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    served.add(credentials=None)
    answer = served.post({"sessionId": session_id})
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the server has no credentials for Vonage's API: its log says more"},
    )
    assert any("no credentials: set VONAGE_APPLICATION_ID" in line for line in everything_logged)


def test_get_is_not_allowed(served: Served) -> None:
    served.add()
    assert httpx2.get(f"http://127.0.0.1:{served.port}/connect", trust_env=False).status_code == 405


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_draining_ends_it_under_our_server_and_starts_no_other(
    fake: FakeAPI, credentials: Credentials, session_id: str
) -> None:
    connector = AudioConnector(echo, authorize=OneTimeTokens("k" * 32))
    app = Starlette()
    app.router.routes.append(connector.route("/vonage"))  # its lifespan is not entered
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, app=app)
    async with await Video().start_audio_connector_server(config) as handle:
        uri = f"{handle.get_address()}/vonage"
        app.router.routes.append(connector.connect_route(uri=uri, authorize=GUARD, credentials=credentials))
        address = f"http://127.0.0.1:{handle.port}/connect"
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            assert (await client.post(address, json={"sessionId": session_id}, headers=HEADERS)).status_code == 200
            await connector.drain(0.0)
            assert len(fake.disconnects) == 1
            answer = await client.post(address, json={"sessionId": session_id}, headers=HEADERS)
            assert (answer.status_code, answer.json()) == (503, {"error": "the server is stopping"})
    assert len(fake.connects) == 1


@pytest.mark.anyio
async def test_who_hangs_up_before_the_answer_has_started_nothing_that_stays(
    fake: FakeAPI, credentials: Credentials, session_id: str
) -> None:
    """A request is cancelled while the connect call goes on: what comes of it is ended."""
    import anyio
    from starlette.requests import Request

    fake.hold = threading.Event()
    connector = AudioConnector(echo)
    route: Any = connector.connect_route(uri="ws://127.0.0.1:1/vonage", authorize=None, credentials=credentials)
    fake.router = never

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"sessionId": "%s"}' % session_id.encode()}

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/connect", "query_string": b"", "headers": headers}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(route.endpoint, Request(scope, receive))
        await anyio.to_thread.run_sync(fake.held.wait, 10)
        tasks.cancel_scope.cancel()
    fake.hold.set()
    assert await anyio.to_thread.run_sync(fake.disconnected.wait, 10)
    await connector._running.stop()
    assert len(fake.disconnects) == 1
