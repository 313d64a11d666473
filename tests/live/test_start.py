"""`start_session_audio`: what was started is seen, told and ended, on both platforms, asyncio and trio."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConfigError,
    Client,
    JSONTransport,
    OneTimeTokens,
    SharedSecret,
)
from vonage_audio_connector_server.errors import AudioConnectorSessionError
from vonage_audio_connector_server.live import session_audio
from vonage_audio_connector_server.live.credentials import Credentials
from vonage_audio_connector_server.live.session_audio import SessionAudio
from vonage_audio_connector_server.live.start import start_session_audio
from vonage_audio_connector_server.runtime import single_error
from vonage_audio_connector_server.simulator.call import SimulatedCall
from vonage_audio_connector_server.simulator.opening import call_app
from vonage_audio_connector_server.simulator.setup import Setup

from .fake_api import FakeAPI, Leg, into_app, never

pytestmark = pytest.mark.anyio

KEY = "k" * 32
URI = "wss://bot.example.com/vonage"


async def echo(client: Client) -> None:
    async for message in client:
        if isinstance(message, bytes):
            client.send_audio_buffer(message)


Live = Callable[..., Any]


@pytest.fixture
def platform() -> str:
    """Most of it is the same on both; `conftest` has the fixture for both."""
    return "application"


@pytest.fixture
def live(fake: FakeAPI, credentials: Credentials, session_id: str) -> Live:
    """`live(connector, …)` is `start_session_audio` where the router calls the connector in this event loop."""

    @asynccontextmanager
    async def live(connector: AudioConnector, uri: str = URI, **options: Any) -> AsyncIterator[SessionAudio]:
        settings = {"connector": connector, "credentials": credentials} | options
        with single_error():
            async with anyio.create_task_group() as router:
                if fake.router is not never:
                    fake.router = into_app(connector, router)
                try:
                    async with start_session_audio(session_id, uri, **settings) as call:
                        yield call
                finally:
                    with anyio.CancelScope(shield=True):
                        for leg in fake.legs.values():
                            if fake.router is not never:
                                over = await anyio.to_thread.run_sync(leg.over.wait, 10)
                                assert over, "the router is still connected"

    return live


def guarded() -> AudioConnector:
    return AudioConnector(echo, authorize=OneTimeTokens(KEY))


async def test_started_and_seen_by_its_token_and_ended(
    live: Live, fake: FakeAPI, session_id: str, everything_logged: list[str]
) -> None:
    connector = guarded()
    async with live(connector) as call:
        assert call.client is not None
        assert call.client.id in str(call.client)
        assert connector.connections == 1
        await call.client.wait_format()
        assert not fake.disconnects

    (asked,), (ended,) = fake.connects, fake.disconnects
    assert asked.body["sessionId"] == session_id
    websocket = asked.body["websocket"]
    assert websocket["uri"].startswith(f"{URI}?token=")
    assert "headers" not in websocket
    assert (websocket["audioRate"], websocket["bidirectional"]) == (16_000, True)
    assert ended.path.endswith(f"/session/{session_id}/connection/{call.connection_id}")
    assert call.id == "b0a70000"
    assert call.end_error is None
    (leg,) = fake.legs.values()
    assert leg.refused is None
    assert connector.connections == 0
    told = "\n".join(everything_logged)
    assert f"session {session_id}: its socket has come, connection {call.client.id}" in told
    assert f"session {session_id}: its audio was ended after" in told


async def test_the_settings_reach_the_api_unchanged(live: Live, fake: FakeAPI) -> None:
    connector = AudioConnector(echo, rate_hz=24_000, audio_transport=JSONTransport("in", "out"))
    async with live(connector, streams=["s-1", "s-2"], headers={"room": "the-seventh-room"}) as call:
        await call.client.wait_format()
        assert call.client.audio_format.rate_hz == 24_000
    websocket = fake.connects[0].body["websocket"]
    assert websocket["audioRate"] == 24_000
    assert websocket["streams"] == ["s-1", "s-2"]
    assert websocket["headers"]["room"] == "the-seventh-room"
    assert websocket["audioTransport"] == {
        "transport": "json",
        "encoding": "base64",
        "audio_field": "in",
        "receive_audio_field": "out",
    }


async def test_one_way_is_said_by_leaving_it_out(live: Live, fake: FakeAPI) -> None:
    async with live(guarded(), bidirectional=False):
        pass
    assert "bidirectional" not in fake.connects[0].body["websocket"]


@pytest.mark.parametrize("where", ["request", "first message", "connection id", "session id"])
async def test_without_a_token_it_is_told_by_what_there_is(
    live: Live, fake: FakeAPI, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "first message":
        fake.headers_in_request = False
        fake.ids_in_request = False
    elif where == "connection id":
        monkeypatch.setattr(session_audio, "HEADER", "something-else")
    elif where == "session id":
        monkeypatch.setattr(session_audio, "HEADER", "something-else")
        monkeypatch.setattr(session_audio, "ARRIVE_S", 0.3)
    if where == "session id":
        setup_of = fake.setup_of

        def without_connection_id(leg: Any) -> Any:
            setup = setup_of(leg)
            object.__setattr__(setup, "connection_id", "another-one")
            return setup

        monkeypatch.setattr(fake, "setup_of", without_connection_id)
    async with live(AudioConnector(echo)) as call:
        assert call.client is not None
    assert len(fake.disconnects) == 1


async def test_another_connection_is_not_taken_for_it(fake: FakeAPI, credentials: Credentials, session_id: str) -> None:
    """A stranger of the same session comes first: the right one is found all the same."""
    connector = AudioConnector(echo)
    setup = Setup(headers={"x-opentok-ws-sessionid": session_id})
    fake.answers_first = True

    async def come_first() -> None:
        async with call_app(connector, setup=setup, lifespan=False, make_call=SimulatedCall) as stranger:
            came.set()
            await over.wait()
            assert stranger.ended is None

    came, over = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        router_of = into_app(connector, tasks)

        def router(fake: FakeAPI, leg: Leg) -> None:
            anyio.from_thread.run(first_the_stranger, token=loop)
            router_of(fake, leg)

        async def first_the_stranger() -> None:
            tasks.start_soon(come_first)
            await came.wait()

        loop = anyio.lowlevel.current_token()
        fake.router = router
        async with start_session_audio(session_id, URI, connector=connector, credentials=credentials) as call:
            assert call.client is not None
            assert call.client.info().connection_id == call.connection_id
        over.set()


async def test_an_error_in_the_block_ends_it(live: Live, fake: FakeAPI) -> None:
    with pytest.raises(LookupError, match="on purpose"):
        async with live(guarded()):
            raise LookupError("on purpose")
    assert len(fake.disconnects) == 1


async def test_a_cancellation_ends_it(live: Live, fake: FakeAPI) -> None:
    with anyio.CancelScope() as scope:
        async with live(guarded()):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert len(fake.disconnects) == 1


async def test_a_cancellation_during_the_connect_call_waits_and_ends_it(live: Live, fake: FakeAPI) -> None:
    fake.hold = threading.Event()

    async def let_go() -> None:
        await anyio.to_thread.run_sync(fake.held.wait, 10)
        scope.cancel()
        assert fake.hold is not None
        fake.hold.set()

    entered = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(let_go)
            async with live(guarded()):
                entered = True
    assert not entered
    assert len(fake.disconnects) == 1


async def test_time_ends_it_and_the_block_goes_on(live: Live, fake: FakeAPI) -> None:
    async with live(guarded(), for_s=0.2) as call:
        await call.wait_ended()
        assert len(fake.disconnects) == 1
    assert len(fake.disconnects) == 1


async def test_the_end_of_the_socket_ends_it(live: Live, fake: FakeAPI) -> None:
    async with live(guarded()) as call:
        call.client.disconnect()
        await call.wait_ended()
    assert len(fake.disconnects) == 1  # it was gone, and that is no error
    assert call.end_error is None


async def test_stop_can_be_called_twice(live: Live, fake: FakeAPI) -> None:
    async with live(guarded()) as call:
        await call.stop()
        await call.stop()
    assert len(fake.disconnects) == 1


async def test_a_force_disconnect_that_fails_is_tried_again(
    live: Live, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "RETRY_S", 0.01)
    fake.disconnect_status = [503, 500]
    async with live(guarded()) as call:
        pass
    assert len(fake.disconnects) == 3
    assert call.end_error is None


async def test_where_it_can_not_be_done_the_socket_is_closed_and_one_line_told(
    live: Live, fake: FakeAPI, everything_logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "CLOSE_S", 0.1)
    fake.disconnect_status = [403] * 9
    async with live(guarded()) as call:
        pass
    assert len(fake.disconnects) == 1
    assert call.end_error is not None
    (line,) = [line for line in everything_logged if "may go on and be billed" in line]
    assert call.connection_id in line
    assert "HTTP 403" in line
    (leg,) = fake.legs.values()
    assert leg.over.is_set()  # `live` has waited for it


async def test_without_a_connector_nobody_waits_for_the_socket(
    fake: FakeAPI, credentials: Credentials, session_id: str
) -> None:
    fake.router = never
    async with start_session_audio(session_id, URI, credentials=credentials, tokens=OneTimeTokens(KEY)) as call:
        assert call.client is None
    assert "?token=" in fake.connects[0].body["websocket"]["uri"]
    assert len(fake.disconnects) == 1


async def test_a_socket_that_never_comes_has_a_likely_cause(
    live: Live, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "ARRIVE_S", 0.2)
    fake.router = never
    with pytest.raises(AudioConnectorSessionError) as caught:
        async with live(guarded(), "ws://127.0.0.1:8765/"):
            raise AssertionError
    assert str(caught.value) == (
        "the audio was started, but no socket came within 0.2 s: nothing reached this server: 127.0.0.1 is no address "
        "that the internet knows: give the public address of a tunnel or a proxy as uri"
    )
    assert len(fake.disconnects) == 1  # what was started is ended


async def test_one_that_is_refused_is_told_at_once(live: Live, fake: FakeAPI) -> None:
    connector = AudioConnector(echo, authorize=lambda info: False)
    with pytest.raises(AudioConnectorSessionError, match="reached this server and was refused with HTTP 403, autho"):
        async with live(connector):
            raise AssertionError
    assert len(fake.disconnects) == 1


async def test_a_query_that_is_dropped_on_the_way_is_told(
    live: Live, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "ARRIVE_S", 0.3)
    fake.uri_of = lambda uri: uri.partition("?")[0]
    with pytest.raises(
        AudioConnectorSessionError, match=r"came without its token, and was refused with HTTP 403.*quer"
    ):
        async with live(guarded()):
            raise AssertionError


async def test_a_secret_in_the_address_stays_there(live: Live, fake: FakeAPI) -> None:
    connector = AudioConnector(echo, authorize=SharedSecret("hush-hush-hush-hush", query="secret"))
    async with live(connector, f"{URI}?secret=hush-hush-hush-hush"):
        pass
    assert fake.connects[0].body["websocket"]["uri"] == f"{URI}?secret=hush-hush-hush-hush"


async def test_a_refusal_of_the_api_starts_nothing(live: Live, fake: FakeAPI) -> None:
    """The sentences of all refusals are in test_api.py."""
    fake.answers = [(409, {"message": "no"})]
    with pytest.raises(AudioConnectorSessionError, match="HTTP 409: the session is not a routed one") as caught:
        async with live(guarded()):
            raise AssertionError
    assert caught.value.status == 409
    assert not fake.disconnects


async def test_an_answer_that_trickles_in_is_not_waited_for_and_ended_when_it_comes(
    live: Live, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time-out of `requests` is for each part of an answer; the limit of the whole call is ours."""
    monkeypatch.setattr(session_audio, "REST_S", 0.1)  # not that of the request itself
    fake.hold = threading.Event()
    fake.router = never
    with pytest.raises(AudioConnectorSessionError, match=r"the connect call was not answered within 0\.2 s"):
        async with live(guarded()):
            raise AssertionError
    assert not fake.disconnects
    fake.hold.set()
    assert await anyio.to_thread.run_sync(fake.disconnected.wait, 10)


async def test_a_socket_that_comes_after_all_is_closed(
    live: Live, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connect call fails, so nobody knows of the connection; it comes with the token all the same."""
    monkeypatch.setattr(session_audio, "ARRIVE_S", 0.2)
    connector = guarded()
    late = fake.answers
    late.append((500, {"message": "on purpose"}))
    with pytest.raises(AudioConnectorSessionError, match="HTTP 500"):
        async with live(connector):
            raise AssertionError
    asked = fake.connects[0].body
    leg = Leg("c0ffee99-0000-4000-8000-000000000000", asked["websocket"], asked["sessionId"])
    async with anyio.create_task_group() as tasks:
        await anyio.to_thread.run_sync(into_app(connector, tasks), fake, leg)
        assert await anyio.to_thread.run_sync(leg.over.wait, 10)
    assert leg.refused is None
    assert leg.ended is not None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"uri": "https://bot.example.com"}, "uri must be a ws:// or wss:// address"),
        ({"uri": "wss://a"}, "uri must name a host, and have 15 to 2048 characters"),
        ({"session_id": "../../other"}, "session_id must be an id"),
        ({"streams": ["a/b"]}, r"streams\[0\] must be an id"),
        ({"streams": ["s"] * 51}, "streams must be a list"),
        ({"streams": "abc"}, "streams must be a list"),
        ({"headers": {"a": "x" * 512}}, "headers: together they are"),
        ({"rate_hz": 44_100}, "rate_hz must be 8000, 16000 or 24000"),
        ({"bidirectional": 1}, "bidirectional must be"),
        ({"transport": "json"}, "transport must be a JSONTransport"),
        ({"for_s": 0}, "for_s must be a number of seconds above 0"),
        ({"connector": echo}, "connector must be an AudioConnector, not function"),
        ({"credentials": "secret"}, "credentials must be a VonageApplication or an OpenTokProject"),
    ],
)
async def test_what_can_not_be_is_refused_before_anything_is_sent(
    fake: FakeAPI, credentials: Credentials, session_id: str, options: dict[str, Any], told: str
) -> None:
    settings = {"session_id": session_id, "uri": URI, "credentials": credentials} | options
    with pytest.raises(AudioConnectorConfigError, match=told):
        async with start_session_audio(**settings):
            raise AssertionError
    assert not fake.asked
