"""What can be called in a test, and how such a call ends: well, badly, refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import Event, create_task_group
from bots import answering, greeting, silent
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from vonage_audio_connector_server import AudioConnector, Client, SharedSecret
from vonage_audio_connector_server.errors import (
    AudioConnectorAudioError,
    AudioConnectorConfigError,
    AudioConnectorError,
)
from vonage_audio_connector_server.testing import (
    DialError,
    Faults,
    NothingHeardError,
    on_virtual_clock,
    recording,
    session,
    tone,
)

ANSWER = recording("librivox-5", 16_000)


# How a call ends


@on_virtual_clock
async def test_leaving_the_block_hangs_up_and_waits_for_the_program() -> None:
    ended: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: ended.append("on_disconnect"))
        async for _ in client:
            pass
        ended.append("on_connect")

    async with session(on_connect) as call:
        await call.wait(1)
        assert ended == []

    assert ended == ["on_connect", "on_disconnect"]
    assert call.ended is not None
    assert (call.ended.code, call.ended.by, call.ended.error) == (1000, "simulator", None)


@on_virtual_clock
async def test_hanging_up_in_the_block_ends_all_waits() -> None:
    async with session(greeting()) as call, create_task_group() as tasks:
        failed = Event()

        async def listens() -> None:
            await call.hears(within_s=1)
            with pytest.raises(NothingHeardError, match=r"before the call ended \(close code 1000\)"):
                await call.hears(within_s=60)
            failed.set()

        tasks.start_soon(listens)
        await call.wait(5)
        call.hang_up()
        await failed.wait()
        assert call.now_s == pytest.approx(5, abs=0.001)


@on_virtual_clock
async def test_a_dropped_connection() -> None:
    reports: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: reports.append(client.close_report))

    async with session(on_connect) as call:
        await call.wait(0.5)
        call.drop()

    assert [(report.code, report.closed_by) for report in reports] == [(1006, "network")]
    assert call.ended is not None
    assert (call.ended.kind, call.ended.code) == ("lost", 1006)


@on_virtual_clock
async def test_a_program_that_disconnects() -> None:
    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(tone(0.5), pad_last_frame=True)
        await client.drain()
        await client.disconnect()

    async with session(on_connect) as call:
        heard = await call.hears(within_s=2)
        ended = await call.wait_ended(within_s=2)

    assert ended is not None
    assert (ended.code, ended.by, ended.error) == (1000, "server", None)
    assert heard.end_s - heard.start_s == pytest.approx(0.5, abs=0.02)
    assert call.ended_s is not None
    assert call.ended_s - call.twin.origin_s == pytest.approx(heard.end_s, abs=0.05)


@on_virtual_clock
async def test_an_error_of_the_program_ends_the_call_and_is_raised_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):  # noqa: PT012 (it is raised at the end)
        async with session(on_connect) as call:
            with pytest.raises(NothingHeardError, match=r"closed the connection with 1011 \(internal error\)"):
                await call.hears(within_s=5)

    assert [record.levelname for record in caplog.records if record.levelno >= logging.ERROR] == ["ERROR"]


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    raise LookupError("on purpose")


@on_virtual_clock
async def test_what_an_application_raises_is_raised_at_the_end_as_it_is() -> None:
    with pytest.raises(LookupError, match="on purpose"):  # noqa: PT012 (it is raised at the end)
        async with session(failing) as call:
            await call.wait(5)
            assert call.now_s < 0.1  # the call had ended


@on_virtual_clock
async def test_the_assertion_of_a_test_is_raised_as_it_is_and_before_what_the_application_raised() -> None:
    with pytest.raises(AssertionError, match="mine"):
        async with session(silent) as call:
            raise AssertionError("mine")
    assert call.ended is not None
    assert call.ended.code == 1000

    with pytest.raises(AssertionError, match="mine") as raised:  # noqa: PT012 (the call has failed before)
        async with session(failing) as call:
            await call.wait(1)
            raise AssertionError("mine")
    assert "on purpose" in str(raised.value.__context__)


@on_virtual_clock
async def test_programs_that_go_on_after_the_end_are_cancelled() -> None:
    async def on_connect(client: Client) -> None:
        await Event().wait()

    async with session(on_connect) as call:
        await call.wait(1)
    assert call.ended is not None

    async def never_ends(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await Event().wait()

    with pytest.raises(AudioConnectorError, match="the application went on for 20 s after the end of its call"):
        async with session(never_ends) as call:
            await call.wait(1)


# Refusals


@on_virtual_clock
async def test_a_refusal_is_told_with_its_status() -> None:
    guarded = AudioConnector(greeting(), authorize=SharedSecret("a-long-secret-value", query="token"))
    with pytest.raises(DialError, match="HTTP 403"):
        async with session(guarded):
            pytest.fail("nobody is let in")
    async with session(guarded, "/?token=a-long-secret-value") as call:
        await call.hears(within_s=1)

    full = AudioConnector(greeting(), max_connections=1)
    async with session(full) as call:
        with pytest.raises(DialError, match="HTTP 503"):
            async with session(full, lifespan=False):
                pytest.fail("it is full")
        await call.hears(within_s=1)


@on_virtual_clock
async def test_an_application_that_does_not_accept() -> None:
    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            raise LookupError("on purpose")

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await Event().wait()

    with pytest.raises(DialError, match=r"failed before it accepted the connection: LookupError\('on purpose'\)"):
        async with session(raises):
            pytest.fail("there is no call")
    with pytest.raises(DialError, match="did not accept the connection within 6 s"):
        async with session(waits):
            pytest.fail("there is no call")


# Applications


@on_virtual_clock
async def test_a_fastapi_app_with_a_mounted_connector_its_lifespan_and_http_state() -> None:
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        told.append(client.state.model)
        await greeting()(client)

    connector = AudioConnector(on_connect, on_start=lambda: told.append("start"), on_stop=lambda: told.append("stop"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with connector.lifespan(app):
            yield {"model": "tiny"}

    app = FastAPI(lifespan=lifespan)
    app.mount("/vonage", connector)
    async with session(app, "/vonage") as call:
        await call.hears(within_s=1)

    assert told == ["start", "tiny", "stop"]


@on_virtual_clock
async def test_path_parameters_query_and_headers() -> None:
    seen: list[Any] = []

    async def on_connect(client: Client) -> None:
        seen.append((client.path_params, client.query_params["room"], client.request.headers["caller"]))

    app = Starlette(routes=[Mount("/v1", routes=[AudioConnector(on_connect).route("/bots/{bot_id:int}")])])
    async with session(app, "/v1/bots/7?room=a%20b", headers={"caller": "Ann"}):
        pass

    assert seen == [({"bot_id": 7}, "a b", "Ann")]
    with pytest.raises(DialError, match="HTTP 403"):
        async with session(app, "/elsewhere"):
            pytest.fail("there is no route")


@on_virtual_clock
async def test_an_endpoint_that_connects() -> None:
    connector = AudioConnector()
    app = FastAPI()

    @app.websocket("/bots/{bot_id}")
    async def bot(websocket: WebSocket, bot_id: str) -> None:
        async with connector.connect(websocket) as client:
            rate_hz = (await client.wait_format()).rate_hz
            await client.send_json_packet({"bot": bot_id})
            client.send_audio_buffer(tone(0.5, rate_hz), pad_last_frame=True)
            async for _ in client:
                pass

    async with session(app, "/bots/anna", rate_hz=8_000) as call:
        heard = await call.hears(within_s=1)

    assert [event.data for event in call.events] == [{"bot": "anna"}]
    assert heard.pcm == tone(0.5, 8_000)


@on_virtual_clock
async def test_a_lifespan_that_fails() -> None:
    def fails() -> None:
        raise LookupError("on purpose")

    with pytest.raises(DialError, match=r"the application's startup failed: (?s:.*)LookupError: on purpose"):
        async with session(AudioConnector(silent, on_start=fails)):
            pytest.fail("it has not started")
    with pytest.raises(DialError, match=r"the application's shutdown failed: (?s:.*)LookupError: on purpose"):
        async with session(AudioConnector(silent, on_stop=fails)) as call:
            await call.wait(0.1)
    async with session(AudioConnector(silent, on_start=fails), lifespan=False) as call:
        await call.wait(0.1)


@on_virtual_clock
async def test_an_application_that_knows_no_lifespan() -> None:
    connector = AudioConnector(greeting())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket", "no lifespan here"
        await connector(scope, receive, send)

    async with session(app) as call:
        await call.hears(within_s=1)


@on_virtual_clock
async def test_two_calls_at_once_hear_each_their_own() -> None:
    connector = AudioConnector(answering(ANSWER))
    async with session(connector) as first, session(connector, lifespan=False) as second:
        assert connector.connections == 2
        await first.say(tone(0.5))
        await first.hears(ANSWER, within_s=1)
        assert not any(second.heard)
        await second.say(tone(0.5))
        await second.hears(ANSWER, within_s=1)
    assert connector.connections == 0


@on_virtual_clock
async def test_a_strict_router_breaks_off_where_frames_are_wrong() -> None:
    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            for size in (640, 640, 160):
                await send({"type": "websocket.send", "bytes": bytes(size)})
            while (await receive())["type"] != "websocket.disconnect":
                pass

    async with session(wrong, router="strict") as call:
        ended = await call.wait_ended()
    assert ended is not None
    assert ended.reason == "the router broke it off: unexpected frame size 160, when required 640"

    async with session(wrong) as call:
        await call.wait(1)
    assert call.ended is not None
    assert call.ended.code == 1000
    assert call.twin.router.wrong_size == 1


# What can't be called


@on_virtual_clock
async def test_what_can_not_be_called_is_told_at_once() -> None:
    with pytest.raises(AudioConnectorConfigError, match="a real socket takes real time"):
        async with session("ws://127.0.0.1:1"):
            pass
    with pytest.raises(AudioConnectorConfigError, match="there is no network"):
        async with session(silent, faults=Faults()):
            pass
    with pytest.raises(AudioConnectorConfigError, match="on_connect"):
        async with session(7):
            pass
    with pytest.raises(AudioConnectorAudioError, match="rate_hz must be 8000, 16000 or 24000"):
        async with session(silent, rate_hz=44_100):
            pass
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        async with session(silent, rate=16_000):
            pass
