"""The client's rules, over every way of serving the application: alone, in Starlette, in FastAPI; on asyncio and trio
under TestClient, and on real sockets under uvicorn, with its own class and with ours."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from conftest import FIRST_MESSAGE, FRAME_BYTES
from ways import Caller, ClosedByServerError, Told, Way

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorAudioError,
    AudioConnectorClosedError,
    AudioConnectorConnectionData,
    AudioConnectorError,
    AudioConnectorJSONError,
    AudioFormat,
    Client,
)

CLEARS = ['{"event":"websocket:cleared"}', '{"action":"clear"}']


def frame(number: int) -> bytes:
    return number.to_bytes(2, "little") * (FRAME_BYTES // 2)


def receive_all(caller: Caller) -> None:
    for _ in range(30):  # lead and batch are 15 frames
        caller.receive()


def test_audio_and_text_arrive_in_order_and_go_back(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if isinstance(message, bytes):
                await client.send_audio_buffer(message)
            else:
                await client.send_json_packet(json.dumps({"heard": message}))

        client.set_handler(on_message=on_message, on_disconnect=lambda: told("gone"))

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    assert json.loads(caller.receive()) == {"heard": FIRST_MESSAGE}
    for number in range(40):
        caller.send(frame(number))
        assert caller.receive() == frame(number)
    caller.hang_up()
    assert told.next() == "gone"
    assert told.rest() == []


def test_info_tells_what_the_handshake_and_the_first_message_said(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        told(client.info())
        client.set_handler(on_message=lambda message: told(client.info()))

    dial = way.serve(AudioConnector(on_connect))
    headers = [
        ("X-OpenTok-WS-SessionId", "session"),
        ("X-OpenTok-WS-ConnectionId", "connection"),
        ("X-OpenTok-WS-ConferenceId", "conference"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.2"),
    ]
    caller = dial("/room%20one?sessionId=S&n=1", headers=headers)
    early: AudioConnectorConnectionData = told.next()
    caller.send(FIRST_MESSAGE)
    late: AudioConnectorConnectionData = told.next()

    assert early.custom == {}
    assert early.audio_format is None
    assert late.custom == {"caller": "Ann"}
    assert late.audio_format == AudioFormat(16_000)
    assert late.uri.endswith("/room%20one?sessionId=S&n=1")
    assert (late.session_id, late.connection_id, late.conference_id) == ("session", "connection", "conference")
    assert (late.sessionId, late.connectionId, late.conferenceId) == ("session", "connection", "conference")
    assert late.headers.getlist("x-forwarded-for") == ["10.0.0.1", "10.0.0.2"]
    assert late.customHeaders["x-forwarded-for"] == "10.0.0.1, 10.0.0.2"
    assert late.id == early.id
    assert "Ann" not in repr(late)
    assert "10.0.0.1" not in repr(late)
    dial()
    assert told.next().id != early.id


def test_messages_that_came_before_the_handler_are_handed_over_first(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        while client.stats().frames_in < 20:
            await checkpoint()
        client.set_handler(on_message=told)

    caller = way.serve(AudioConnector(on_connect))()
    sent: list[bytes | str] = [FIRST_MESSAGE, *(frame(number) for number in range(40))]
    for message in sent:
        caller.send(message)
    assert [told.next() for _ in sent] == sent


def test_a_handler_that_waits_gets_one_message_at_a_time_in_order(way: Way, told: Told) -> None:
    busy = 0

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            nonlocal busy
            busy += 1
            for _ in range(3):
                await checkpoint()
            told(message, busy)
            busy -= 1

        client.set_handler(on_message=on_message)

    caller = way.serve(AudioConnector(on_connect))()
    for number in range(100):
        caller.send(frame(number))
    assert [told.next() for _ in range(100)] == [(frame(number), 1) for number in range(100)]


def test_async_for_takes_the_messages_and_ends_with_the_call(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told("gone"))
        messages = [message async for message in client]
        await checkpoint()  # code behind the loop may still wait
        told(messages)

    caller = way.serve(AudioConnector(on_connect))()
    sent: list[bytes | str] = [FIRST_MESSAGE, frame(1), frame(2), "not JSON"]
    for message in sent:
        caller.send(message)
    caller.hang_up()
    assert told.next() == sent
    assert told.next() == "gone"


def test_the_end_is_told_while_a_handler_waits(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            told("waits")
            while client.stats().duration_s < 60:
                try:
                    await client.send_json_packet("{}")
                except AudioConnectorClosedError as exc:
                    told(type(exc))
                    raise
                await anyio.sleep(0.01)  # not to flood a peer that doesn't read

        client.set_handler(on_message=on_message, on_disconnect=lambda: told("gone"), on_error=told)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(frame(1))
    assert told.next() == "waits"
    caller.hang_up()
    assert told.next() is AudioConnectorClosedError
    assert told.next() == "gone"
    assert told.rest() == []  # sending when the call ends is no error to report


def test_on_error_is_told_and_the_call_goes_on(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if message == "fail":
                raise LookupError("on purpose")
            told(message)

        client.set_handler(on_message=on_message, on_error=told)
        raise ValueError("on_connect, too")

    caller = way.serve(AudioConnector(on_connect))()
    assert str(told.next()) == "on_connect, too"
    for message in ("before", "fail", "after"):
        caller.send(message)
    assert told.next() == "before"
    error = told.next()
    assert isinstance(error, LookupError)
    assert str(error) == "on purpose"
    assert told.next() == "after"


@pytest.mark.parametrize("on_error", [None, lambda error: 1 / 0], ids=["no on_error", "on_error fails"])
def test_an_error_that_nobody_takes_is_logged_and_ends_the_call_with_1011(
    way: Way, told: Told, on_error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def on_connect(client: Client) -> None:
        def on_message(message: bytes | str) -> None:
            raise LookupError("on purpose")

        client.set_handler(on_message=on_message, on_disconnect=lambda: told("gone"), on_error=on_error)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(frame(1))
    with pytest.raises(ClosedByServerError) as closed:
        caller.receive()
    assert closed.value.code == 1011
    assert told.next() == "gone"
    assert told.rest() == []
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "vonage_audio_connector_server"
    assert record.exc_info is not None
    assert "LookupError: on purpose" in caplog.text  # the traceback


@pytest.mark.parametrize("awaited", [True, False])
def test_disconnect_closes_with_1000(way: Way, told: Told, awaited: bool) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            await client.send_audio_buffer(bytes(FRAME_BYTES * 100))
            closing = client.disconnect()
            client.disconnect()  # once more does nothing
            with pytest.raises(AudioConnectorClosedError, match="closed"):
                await client.send_audio_buffer(frame(2))
            if awaited:
                await closing
                await client.disconnect()
            told("closed")

        client.set_handler(on_message=on_message, on_disconnect=lambda: told("gone"))

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    with pytest.raises(ClosedByServerError) as closed:
        receive_all(caller)  # what was due before the close
    assert closed.value.code == 1000
    assert told.next() == "closed"
    assert told.next() == "gone"
    assert told.rest() == []


def test_after_the_end_every_call_raises_one_typed_error(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_disconnect() -> None:
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "send_audio_buffer": lambda: client.send_audio_buffer(frame(1)),
                "send_json_packet": lambda: client.send_json_packet("{}"),
                "flush_buffer": client.flush_buffer,
            }
            for name, call in calls.items():
                with pytest.raises(AudioConnectorClosedError, match="nothing can be sent"):
                    await call()
                told(name)
            await client.disconnect()  # this alone is right at any time
            told(repr(client).split()[-2])

        client.set_handler(on_disconnect=on_disconnect)

    way.serve(AudioConnector(on_connect))().hang_up()
    assert [told.next() for _ in range(4)] == ["send_audio_buffer", "send_json_packet", "flush_buffer", "closed"]


def test_a_greeting_waits_for_the_format_and_is_not_lost(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(bytes(range(200)) * 8, pad_last_frame=True)
        told(client.audio_format)
        told(await client.wait_format())

    caller = way.serve(AudioConnector(on_connect))()
    assert told.next() is None
    caller.send('{"event":"websocket:connected","content-type":"audio/l16;rate=8000"}')
    assert told.next() == AudioFormat(8_000)
    frames = [caller.receive() for _ in range(5)]
    assert all(len(one) == 320 for one in frames)
    assert b"".join(frames) == bytes(range(200)) * 8  # type: ignore[arg-type]


def test_the_remainder_waits_for_the_next_call_and_padding_is_asked_for(way: Way) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(frame(1)[:100])
        await client.send_audio_buffer(memoryview(frame(1)[100:] + frame(2)[:10]))
        await client.send_audio_buffer(bytearray(frame(2)[10:20]), bytes_per_sample=640, pad_last_frame=True)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    assert caller.receive() == frame(1)
    assert caller.receive() == frame(2)[:20] + bytes(FRAME_BYTES - 20)


@pytest.mark.parametrize("awaited", [True, False])
def test_flush_drops_what_is_queued_and_nothing_that_comes_after(way: Way, awaited: bool) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            await client.send_audio_buffer(frame(1) * 1000 + frame(1)[:100])  # 20 s and a remainder
            flushed = client.flush_buffer()
            if awaited:
                await flushed
            await client.send_audio_buffer(frame(2) * 3 + frame(3)[:50], pad_last_frame=True)

        client.set_handler(on_message=on_message)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    received: list[bytes | str] = []
    while len(received) < 4 or received[-4] != frame(2):
        received.append(caller.receive())
    cut = received.index(CLEARS[0])
    assert set(received[:cut]) <= {frame(1)}  # what had left before
    assert cut <= 15  # lead and batch
    assert received[cut:] == [*CLEARS, frame(2), frame(2), frame(2), frame(3)[:50] + bytes(FRAME_BYTES - 50)]


def test_flush_buffer_of_send_audio_buffer_is_the_same_step(way: Way) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            await client.send_audio_buffer(frame(1) * 100)
            await client.send_audio_buffer(frame(2), flush_buffer=True)

        client.set_handler(on_message=on_message)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    received: list[bytes | str] = []
    while not received or received[-1] != frame(2):
        received.append(caller.receive())
    assert set(received[:-3]) <= {frame(1)}  # what had left before
    assert received[-3:] == [*CLEARS, frame(2)]


def test_bad_input_is_a_typed_readable_error_and_the_call_goes_on(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            bad_calls: dict[str, Any] = {
                "half a sample": lambda: client.send_audio_buffer(b"\0" * 641),
                "640": lambda: client.send_audio_buffer(
                    frame(1), bytes_per_sample=320, frames_ms=20, flush_buffer=True
                ),
                "20 or 10": lambda: client.send_audio_buffer(frame(1), frames_ms=30),
                "not list": lambda: client.send_audio_buffer([1, 2]),  # type: ignore[arg-type]
                "JSON": lambda: client.send_json_packet("{no"),
                "NaN": lambda: client.send_json_packet({"a": float("nan")}),
            }
            for wording, call in bad_calls.items():
                try:
                    await call()
                except AudioConnectorError as exc:
                    told(wording in str(exc) or str(exc), type(exc))
            client.set_buffer_timing(active_seconds=1.0)
            with pytest.raises(ValueError, match=r"active_seconds must be 0\.04 to 15"):
                client.set_buffer_timing(active_seconds=0)
            await client.send_audio_buffer(frame(7))

        client.set_handler(on_message=on_message)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    assert [told.next() for _ in range(4)] == [(True, AudioConnectorAudioError)] * 4
    assert told.next() == (True, AudioConnectorJSONError)
    assert told.next()[1] is AudioConnectorJSONError
    assert caller.receive() == frame(7)  # and no clear command: a refused call flushes nothing


def test_a_message_of_1_mib_closes_with_1009(way: Way, told: Told) -> None:
    def on_connect(client: Client) -> None:
        client.set_handler(on_message=told, on_disconnect=lambda: told("gone"), on_error=told)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(bytes(1024 * 1024))
    with pytest.raises(ClosedByServerError) as closed:
        caller.receive()
    assert closed.value.code == 1009
    assert told.next() == "gone"


def test_on_connect_that_goes_on_after_the_end_is_cancelled(
    way: Way, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.call.call.GRACE_S", 0.05)

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told("gone"))
        try:
            await anyio.sleep_forever()
        finally:
            told("cancelled")

    app = AudioConnector(on_connect)
    way.serve(app)().hang_up()
    assert told.next() == "cancelled"
    assert told.next() == "gone"


def test_plain_functions_serve_as_handlers(way: Way, told: Told) -> None:
    def on_connect(client: Client) -> None:
        client.set_handler(told, lambda: told("gone"), told)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(frame(1))
    assert told.next() == frame(1)
    caller.hang_up()
    assert told.next() == "gone"


def test_http_requests_are_not_found() -> None:
    from starlette.testclient import TestClient

    with TestClient(AudioConnector()) as client:
        assert client.get("/").status_code == 404


def test_another_thread_starts_tasks_of_the_call(way: Way, told: Told) -> None:
    async def beside(value: int) -> None:
        await anyio.sleep(0.001)
        told(value)

    async def on_connect(client: Client) -> None:
        threading.Thread(target=client.start_soon, args=(beside, 1)).start()
        await anyio.to_thread.run_sync(client.start_soon, beside, 2)
        await client.wait_closed()

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    assert {told.next(), told.next()} == {1, 2}
    caller.hang_up()
