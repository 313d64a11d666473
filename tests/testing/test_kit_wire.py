"""What travels between the kit and an application: by `receive` and `send`, or past them; and what plays a session."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path
from typing import Any

import pytest
from bots import echo
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from vonage_audio_connector_server import AudioConnector, Client, Connected
from vonage_audio_connector_server.testing import first_message, frames, on_virtual_clock, session, silence, tone

SPEECH = Path(__file__).parents[2] / "examples" / "audio" / "librivox-2.wav"
SECOND = tone(1.0)


@on_virtual_clock
async def test_an_application_without_a_connector_gets_and_sends_each_message() -> None:
    seen: list[Any] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message["code"])
                if message.get("bytes") is not None:
                    await websocket.send_bytes(message["bytes"])
                else:
                    seen.append(message["text"])
        except WebSocketDisconnect as exc:
            seen.append(exc.code)

    async with session(Starlette(routes=[WebSocketRoute("/", endpoint)]), silence="none") as call:
        await call.say(SECOND)
        await call.wait(0.1)
        assert SECOND in call.heard

    first, goodbye, code = seen
    assert first == ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected"}'
    assert json.loads(goodbye)["event"] == "websocket:disconnected"
    assert code == 1000


@on_virtual_clock
async def test_what_wraps_a_connector_sees_the_handshake_and_the_end_as_under_our_server() -> None:
    seen: list[str] = []
    connector = AudioConnector(echo)

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        async def and_tell_received() -> Message:
            message = await receive()
            seen.append(message["type"])
            return message

        async def and_tell_sent(message: Message) -> None:
            seen.append(message["type"])
            await send(message)

        await connector(scope, and_tell_received, and_tell_sent)

    async with session(middleware, lifespan=False) as call:
        await call.say(SECOND)
        await call.wait(0.1)
        assert SECOND in call.heard

    assert seen == ["websocket.connect", "websocket.accept", "websocket.disconnect"]


@on_virtual_clock
async def test_a_message_that_is_too_big_ends_the_call() -> None:
    reports: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: reports.append(client.close_report))

    async with session(AudioConnector(on_connect, max_message_bytes=1_024)) as call:
        await call.wait(0.1)
        call.send({"text": "x" * 1_024})
        ended = await call.wait_ended()

    assert ended is not None
    assert (ended.code, ended.by) == (1009, "server")
    assert [(report.code, report.closed_by) for report in reports] == [(1009, "library")]


@on_virtual_clock
async def test_what_was_sent_before_the_end_comes_before_it() -> None:
    seen: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_event=seen.append, on_disconnect=lambda: seen.append("gone"))

    async with session(on_connect) as call:
        await call.wait(0.1)
        call.press("1")
        call.hang_up()
        await call.wait_ended()

    assert [getattr(event, "digit", type(event).__name__) for event in seen[:-1]] == ["Connected", "1", "Disconnected"]
    assert seen[-1] == "gone"


@on_virtual_clock
async def test_who_speaks_in_the_first_moment_is_heard() -> None:
    """The first message comes with the accept, and so before anything of the program has run."""
    seen: list[Any] = []

    async def on_connect(client: Client) -> None:
        seen.extend([event async for event in client.events()])

    async with session(on_connect, first_s=0.0) as call:
        await call.say(tone(0.1))

    assert isinstance(seen[0], Connected)
    loud = [event for event in seen if any(getattr(event, "pcm", b""))]
    assert len(loud) == 5


# For those who play a session themselves


def test_the_first_message() -> None:
    assert first_message() == ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected"}'
    assert first_message(8_000, caller="Ann") == (
        ' {"content-type":"audio/l16;rate=8000","event":"websocket:connected","caller":"Ann"}'
    )


def test_frames_of_pcm_and_of_a_file() -> None:
    assert frames(b"\1" * 1_000) == [b"\1" * 640, b"\1" * 360 + bytes(280)]
    assert frames(b"") == []
    assert {len(frame) for frame in frames(SPEECH)} == {640}
    assert {len(frame) for frame in frames(str(SPEECH), 8_000)} == {320}
    assert len(frames(SPEECH)) == pytest.approx(len(frames(SPEECH, 24_000)), abs=1)


def test_silence_and_tones() -> None:
    assert silence(0.5) == bytes(16_000)
    samples = array("h", tone(1.0, 8_000, pitch_hz=400))
    assert len(samples) == 8_000
    assert 20 * math.log10(max(samples) / 32_768) == pytest.approx(-9, abs=0.1)
    rms = math.sqrt(sum(sample**2 for sample in samples) / len(samples))
    assert 20 * math.log10(rms / 32_768) == pytest.approx(-12, abs=0.1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_session_that_is_played_with_starlettes_test_client(backend: Any) -> None:
    with TestClient(AudioConnector(echo), backend=backend).websocket_connect("/") as call:
        call.send_text(first_message(8_000))
        for frame in frames(tone(0.1, 8_000), 8_000):
            call.send_bytes(frame)
            assert call.receive_bytes() == frame
