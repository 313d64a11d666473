"""What a connection does when its callers are cancelled, loop without a pause, or fail from inside."""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from conftest import FIRST_MESSAGE

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    Client,
)
from vonage_audio_connector_server.link.asgi import ASGILink
from vonage_audio_connector_server.steps import Steps

pytestmark = pytest.mark.anyio

SCOPE = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
FRAMES = [number.to_bytes(2, "little") * 320 for number in range(200)]


class Gate:
    """An ASGI connection whose writes wait while the gate is shut, as a server's do when the peer doesn't read."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = anyio.Event()
        self.open.set()
        self.waiting = 0
        self._to_app, self._receive = anyio.create_memory_object_stream[dict[str, Any]](1000)
        self.say({"type": "websocket.connect"})

    def say(self, message: dict[str, Any] | str | bytes) -> None:
        if not isinstance(message, dict):
            key = "bytes" if isinstance(message, bytes) else "text"
            message = {"type": "websocket.receive", key: message}
        self._to_app.send_nowait(message)

    @property
    def unread(self) -> int:
        return self._receive.statistics().current_buffer_used

    def hang_up(self) -> None:
        self.say({"type": "websocket.disconnect", "code": 1001})

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._receive.receive()
        return message

    async def send(self, message: Any) -> None:
        self.waiting += 1
        try:
            if not self.open.is_set():
                await self.open.wait()
        finally:
            self.waiting -= 1
        if message["type"] == "websocket.send":
            self.sent.append(message.get("bytes") or message["text"])

    async def serve(self, app: AudioConnector) -> None:
        try:
            await app(SCOPE, self.receive, self.send)
        finally:
            self._to_app.close()
            self._receive.close()


async def test_cancelled_callers_lose_nothing_and_double_nothing() -> None:
    gate = Gate()

    async def open_later() -> None:
        for _ in range(50):
            await checkpoint()
        gate.open.set()

    async def on_connect(client: Client) -> None:
        client.set_buffer_timing(15)
        gate.open = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_later)
            for frame in FRAMES[:50]:
                with anyio.CancelScope() as scope:
                    scope.cancel()  # takes effect at the first wait
                    await client.send_audio_buffer(frame, bytes_per_sample=640)
            assert len(gate.sent) < 50  # or nothing was ever in the way
        while client.stats().queued_s or len(gate.sent) < 50:
            await checkpoint()
        gate.hang_up()

    with anyio.fail_after(10):
        await gate.serve(AudioConnector(on_connect))
    assert gate.sent == FRAMES[:50]


async def test_many_tasks_send_whole_utterances() -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        client.set_buffer_timing(15)
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(client.send_audio_buffer, FRAMES[number] * 5)
                tasks.start_soon(client.send_json_packet, f'{{"n":{number}}}')
        while client.stats().queued_s:
            await checkpoint()
        gate.hang_up()

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(10):
        await gate.serve(AudioConnector(on_connect))
    frames = [message for message in gate.sent if isinstance(message, bytes)]
    assert sorted(frames) == sorted(FRAMES[:20] * 5)
    for at in range(0, 100, 5):
        assert len(set(frames[at : at + 5])) == 1  # one utterance is never cut by another
    assert sum(isinstance(message, str) for message in gate.sent) == 20


async def test_a_caller_that_only_sends_does_not_starve_the_connection() -> None:
    gate = Gate()
    heard: list[bytes | str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=heard.append)
        until_s = time.monotonic() + 1.0
        while len(heard) < 10:
            await client.send_audio_buffer(FRAMES[0])  # never waits by itself: the audio is queued
            assert time.monotonic() < until_s, "nothing was read while the caller was sending"
        gate.hang_up()

    gate.say(FIRST_MESSAGE)
    for number in range(9):
        gate.say(FRAMES[number])
    await gate.serve(AudioConnector(on_connect))


async def test_a_caller_that_blocks_between_two_calls_does_not_starve_the_connection(anyio_backend: str) -> None:
    gate = Gate()
    heard: list[bytes | str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=heard.append)
        for number, frame in enumerate(FRAMES[:12]):
            gate.say(frame)
            time.sleep(0.02)  # noqa: ASYNC251 (the program that this is about)
            await client.send_audio_buffer(frame)  # goes straight to the socket
            # On trio a message takes up to four turns, and tasks have theirs in random order; but it never piles up.
            assert len(heard) >= (number if anyio_backend == "asyncio" else number - 4)
        gate.hang_up()

    gate.say(FIRST_MESSAGE)
    await gate.serve(AudioConnector(on_connect))
    assert gate.sent == FRAMES[:12]


async def test_a_socket_that_is_gone_ends_the_call() -> None:
    gate = Gate()
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told.append("gone"))
        await client.wait_format()

        async def broken(message: Any) -> None:
            raise ConnectionResetError("on purpose")

        link = cast("ASGILink", client._call.link)
        link._send, link._steps = broken, Steps(copy_context(), broken)
        await client.send_audio_buffer(FRAMES[0])
        with pytest.raises(AudioConnectorClosedError):  # the server has some time to tell why it is gone
            await client.send_json_packet("{}")
        told.append(repr(client).split()[-1])

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert told == ["1006>", "gone"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio has no tasks that can be waited for
async def test_waiting_for_a_cancelled_task_does_not_end_the_call(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    heard: list[bytes | str] = []

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            heard.append(message)
            if message == "interrupt":
                speech = asyncio.create_task(asyncio.sleep(60))
                speech.cancel()
                await speech

        client.set_handler(on_message=on_message)
        gate.say("interrupt")
        gate.say("go on")
        while len(heard) < 2:
            await checkpoint()
        gate.hang_up()

    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert heard == ["interrupt", "go on"]
    assert "a cancellation of its own" in caplog.text


async def test_a_cancelled_endpoint_still_runs_on_disconnect_once(anyio_backend: str) -> None:
    gate = Gate()
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        async def on_disconnect() -> None:
            await checkpoint()
            told.append(f"gone {client.stats().duration_s >= 0}")

        client.set_handler(on_disconnect=on_disconnect)
        told.append("ready")

    app = AudioConnector(on_connect)
    if anyio_backend == "asyncio":  # as an ASGI server cancels it
        task = asyncio.create_task(gate.serve(app))
        while not told:
            await checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.serve, app)
            while not told:
                await checkpoint()
            tasks.cancel_scope.cancel()
    assert told == ["ready", "gone True"]
    assert app.connections == 0


async def test_messages_are_taken_by_a_handler_or_by_async_for_not_by_both() -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=print)
        with pytest.raises(AudioConnectorConfigError, match="either"):
            aiter(client)
        client.set_handler()
        async with anyio.create_task_group() as tasks:
            messages = aiter(client)
            tasks.start_soon(messages.__anext__)  # type: ignore[arg-type]
            while not client._call.dispatcher.is_awaited:
                await checkpoint()
            with pytest.raises(AudioConnectorConfigError, match="by 'async for' already"):
                client.set_handler(on_message=print)
            tasks.cancel_scope.cancel()
        client.set_handler(on_message=print)  # the loop is over, so a handler may take its place
        with pytest.raises(AudioConnectorConfigError, match="either"):
            await anext(messages)
        with pytest.raises(AudioConnectorConfigError, match="on_error must be a function"):
            client.set_handler(on_error="print")  # type: ignore[arg-type]
        with pytest.raises(AudioConnectorConfigError, match="code must be"):
            client.disconnect(code=1006)
        with pytest.raises(AudioConnectorConfigError, match="123 bytes"):
            client.disconnect(reason="ä" * 62)
        with pytest.raises(AudioConnectorConfigError, match="can't be written as UTF-8"):
            client.disconnect(reason="\ud800")
        gate.hang_up()

    await gate.serve(AudioConnector(on_connect))


async def test_a_peer_that_leaves_before_the_handshake_is_no_connection() -> None:
    connected: list[Client] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        pytest.fail("nothing is to be sent")

    await AudioConnector(connected.append)(SCOPE, receive, send)
    assert connected == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_flush_and_disconnect_can_be_made_tasks() -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        await asyncio.create_task(client.flush_buffer())
        assert len(gate.sent) == 2
        await asyncio.create_task(client.disconnect())

    await gate.serve(AudioConnector(on_connect))
