"""What a connection does when its peer stops reading, its server is an odd one, or user code does odd things."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from conftest import FIRST_MESSAGE
from test_connection_tasks import FRAMES, SCOPE, Gate
from websockets.sync.client import connect as sync_connect

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorAudioError,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    Client,
    Video,
)
from vonage_audio_connector_server.call.call import Call

pytestmark = pytest.mark.anyio


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.link.asgi.STALL_S", 0.1)
    monkeypatch.setattr("vonage_audio_connector_server.call.call.CLOSE_S", 0.1)


class WriteFirst(Gate):
    """As hypercorn and others do it: a message is written at once, and what waits comes after."""

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.sent.append(message.get("bytes") or message["text"])
        if not self.open.is_set():
            await self.open.wait()


@pytest.mark.parametrize("kind", [Gate, WriteFirst])
async def test_cancelled_callers_double_nothing_whenever_the_server_writes(kind: type[Gate]) -> None:
    gate = kind()
    texts = [f'{{"n":{number}}}' for number in range(30)]

    async def on_connect(client: Client) -> None:
        gate.open = anyio.Event()
        for text in texts:
            with anyio.move_on_after(0.002):
                await client.send_json_packet(text)
        gate.open.set()
        while len(gate.sent) < len(texts):
            await checkpoint()
        gate.hang_up()

    with anyio.fail_after(10):
        await gate.serve(AudioConnector(on_connect))
    assert gate.sent == texts


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks_that_are_cancelled_natively_double_nothing() -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        gate.open = anyio.Event()
        for frame in FRAMES[:10]:
            speech = asyncio.create_task(client.send_audio_buffer(frame))
            await checkpoint()
            speech.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await speech
        gate.open.set()
        while len(gate.sent) < 10:
            await checkpoint()
        gate.hang_up()

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(10):
        await gate.serve(AudioConnector(on_connect))
    assert gate.sent == FRAMES[:10]


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("act", ["send", "disconnect", "flush"])
async def test_a_peer_that_reads_nothing_is_given_up(act: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told.append(repr(client).split()[-1]))
        await client.wait_format()
        gate.open = anyio.Event()  # for ever
        if act == "disconnect":
            await client.disconnect()
        else:
            send: Callable[[], Awaitable[object]] = (
                client.flush_buffer if act == "flush" else partial(client.send_json_packet, "{}")
            )
            with contextlib.suppress(AudioConnectorClosedError):
                await send()
            with pytest.raises(AudioConnectorClosedError):
                await send()
        told.append("ended")

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert told == ["ended", "1006>"]
    assert "has read nothing for 0.1 s" in caplog.text


@pytest.mark.usefixtures("short_limits")
async def test_a_cancelled_endpoint_with_a_blocked_peer_still_runs_on_disconnect(anyio_backend: str) -> None:
    gate = Gate()
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told.append("gone"))
        await client.wait_format()
        gate.open = anyio.Event()
        told.append("blocked")
        await client.send_json_packet("{}")

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.serve, AudioConnector(on_connect))
            while not told:
                await checkpoint()
            for _ in range(5):
                await checkpoint()
            tasks.cancel_scope.cancel()
    assert told == ["blocked", "gone"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_whose_awaitables_are_plain_iterators() -> None:
    """Granian's futures can be iterated, but neither be sent to nor thrown into."""

    class PlainIterator:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __await__(self) -> Iterator[Any]:
            return self

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            return next(self._inner)

    gate = Gate()

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=lambda message: gate.hang_up() if message == "bye" else None)

    async def say_goodbye() -> None:
        for _ in range(5):
            await checkpoint()
        gate.say("bye")

    def receive() -> Any:
        return PlainIterator(gate.receive().__await__())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say_goodbye)
            await AudioConnector(on_connect)(SCOPE, receive, gate.send)
    gate._to_app.close()
    gate._receive.close()


async def test_an_on_error_that_waits_does_not_hide_the_messages_behind_it() -> None:
    gate = Gate()
    told: list[Any] = []

    async def on_connect(client: Client) -> None:
        def on_message(message: bytes | str) -> None:
            raise LookupError(message)

        async def on_error(error: Exception) -> None:
            while client.stats().texts_in < 3:
                await checkpoint()
            told.append(str(error))
            if len(told) == 3:
                gate.hang_up()

        client.set_handler(on_message=on_message, on_error=on_error)
        for text in "abc":
            gate.say(text)

    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert told == ["a", "b", "c"]


@pytest.mark.parametrize("then", ["disconnect", "unset", "return"])
async def test_a_handler_that_is_set_and_given_up_in_one_step(then: str) -> None:
    gate = Gate()
    told: list[Any] = []

    async def on_connect(client: Client) -> None:
        while not client.stats().texts_in:
            await checkpoint()
        client.set_handler(on_message=told.append, on_disconnect=lambda: told.append("gone"))
        if then == "disconnect":
            client.disconnect()
        elif then == "unset":
            client.set_handler(on_disconnect=lambda: told.append("gone"))
            gate.hang_up()
        else:
            gate.hang_up()

    gate.say(FIRST_MESSAGE)
    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert told == ([FIRST_MESSAGE, "gone"] if then == "return" else ["gone"])


async def test_sending_texts_in_a_loop_lets_the_loop_turn() -> None:
    gate = Gate()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async def on_connect(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            await checkpoint()
            before, until_s = turns, time.monotonic() + 0.2
            while time.monotonic() < until_s:
                await client.send_json_packet("{}")
            assert turns - before >= 10  # once in 10 ms
            tasks.cancel_scope.cancel()
        gate.hang_up()

    await gate.serve(AudioConnector(on_connect))


@pytest.mark.parametrize("taking", ["on_message", "async for"])
async def test_a_backlog_lets_the_loop_turn(taking: str) -> None:
    gate = Gate()
    turns: list[int] = []
    heard = 0

    async def on_connect(client: Client) -> None:
        while client.stats().frames_in < 100:
            await checkpoint()
        client.set_handler()

        def work(message: bytes | str) -> None:
            nonlocal heard
            heard += 1
            time.sleep(0.003)
            if heard == 100:
                gate.hang_up()

        async with anyio.create_task_group() as tasks:

            async def count_turns() -> None:
                while heard < 100:
                    turns.append(heard)
                    await checkpoint()

            tasks.start_soon(count_turns)
            await checkpoint()
            if taking == "on_message":
                client.set_handler(on_message=work)
            else:
                async for message in client:
                    work(message)

    for frame in FRAMES[:100]:
        gate.say(frame)
    with anyio.fail_after(10):
        await gate.serve(AudioConnector(on_connect))
    assert max(after - before for before, after in pairwise(turns)) <= 8  # 10 ms, and one more


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("place", ["on_connect", "on_error", "on_disconnect"])
async def test_a_cancellation_of_its_own_harms_nobody(place: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    told: list[str] = []

    async def wait_for_a_cancelled_task(*_: object) -> None:
        speech = asyncio.create_task(asyncio.sleep(60))
        speech.cancel()
        told.append("waits")
        await speech

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if message == "bye":
                told.append("still here")
                gate.hang_up()
            elif place == "on_error":
                raise LookupError

        client.set_handler(
            on_message,
            wait_for_a_cancelled_task if place == "on_disconnect" else lambda: told.append("gone"),
            wait_for_a_cancelled_task if place == "on_error" else None,
        )
        gate.say("first")
        gate.say("bye")
        if place == "on_connect":
            await wait_for_a_cancelled_task()

    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert sorted(told) == sorted(["waits", "still here"] + ["gone"] * (place != "on_disconnect"))
    assert "a cancellation of its own" in caplog.text


async def test_a_group_of_senders_that_the_end_stops_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    errors: list[Exception] = []

    async def speak(client: Client) -> None:
        while True:
            await client.send_json_packet("{}")
            await checkpoint()

    async def on_connect(client: Client) -> None:
        client.set_handler(on_error=errors.append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak, client)
            tasks.start_soon(speak, client)
            gate.hang_up()

    with anyio.fail_after(5):
        await gate.serve(AudioConnector(on_connect))
    assert errors == []
    assert caplog.records == []


async def test_a_listener_that_on_connect_starts_as_a_task_gets_every_message() -> None:
    gate = Gate()
    heard: list[bytes | str] = []

    async def listen(client: Client) -> None:
        heard.extend([message async for message in client])

    async with anyio.create_task_group() as tasks:

        async def on_connect(client: Client) -> None:
            while client.stats().frames_in < 10:
                await checkpoint()
            tasks.start_soon(listen, client)

        for frame in FRAMES[:10]:
            gate.say(frame)
        tasks.start_soon(gate.serve, AudioConnector(on_connect))
        while gate.unread:
            await checkpoint()
        gate.say(FRAMES[10])
        gate.hang_up()
    assert heard == FRAMES[:11]


async def test_wrong_kinds_of_arguments_are_typed_errors() -> None:
    gate = Gate()

    async def on_connect(client: Client) -> None:
        calls: list[tuple[type[Exception], Any]] = [
            (AudioConnectorConfigError, lambda: client.disconnect(1000.0)),  # type: ignore[arg-type]
            (AudioConnectorConfigError, lambda: client.disconnect("1000")),  # type: ignore[arg-type]
            (AudioConnectorConfigError, lambda: client.disconnect(1000, None)),  # type: ignore[arg-type]
        ]
        for error, call in calls:
            with pytest.raises(error):
                call()
        for options in ({"bytes_per_sample": "640"}, {"bytes_per_sample": 640.0}, {"frames_ms": 20.0}):
            with pytest.raises(AudioConnectorAudioError):
                await client.send_audio_buffer(FRAMES[0], **options)
        gate.hang_up()

    await gate.serve(AudioConnector(on_connect))


@pytest.mark.parametrize("how", ["handlers", "async for", "an error in it"])
async def test_ended_calls_are_let_go_without_the_collector(how: str) -> None:
    alive: list[weakref.ref[Call]] = []

    async def call() -> None:
        gate = Gate()

        async def on_connect(client: Client) -> None:
            alive.append(weakref.ref(client._call))

            async def on_message(message: bytes | str) -> None:
                await client.send_audio_buffer(FRAMES[0] * 500)
                gate.hang_up()

            if how == "handlers":
                client.set_handler(on_message=on_message, on_error=print, on_disconnect=lambda: repr(client))
                return
            client.set_handler(on_error=lambda error: None)  # else the log holds the error
            async for _ in client:
                gate.hang_up()
                if how == "an error in it":
                    raise LookupError("on purpose")

        gate.say(FIRST_MESSAGE)
        await gate.serve(AudioConnector(on_connect))

    gc.disable()
    try:
        for _ in range(5):
            await call()
        await checkpoint()
        assert [connection() for connection in alive] == [None] * 5
    finally:
        gc.enable()


async def test_an_unexpected_error_of_the_server_ends_the_call_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told.append("gone"))
        with pytest.raises(AudioConnectorClosedError):
            await client.send_json_packet("{}")

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise LookupError("on purpose")

    with anyio.fail_after(5):
        await AudioConnector(on_connect)(SCOPE, gate.receive, send)
    gate._to_app.close()
    gate._receive.close()
    assert told == ["gone"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "on purpose" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("ws", ["auto", "websockets-sansio"])
async def test_other_calls_have_their_turn_between_two_frames_of_a_handler_that_blocks(ws: Any) -> None:
    turns: list[str] = []

    async def on_connect(client: Client) -> None:
        is_slow = client.info().uri == "/slow"

        async def on_audio(frame: bytes) -> None:
            turns.append("slow" if is_slow else "quick")
            if is_slow:
                time.sleep(0.03)  # noqa: ASYNC251 (the program that this is about)

        client.set_handler(on_audio=on_audio)

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, ws=ws, watchdog=False)
    handle = await Video().start_audio_connector_server(config)

    def speak(path: str, seconds: float) -> None:
        with sync_connect(f"{handle.get_address()}{path}", compression=None, proxy=None) as peer:
            peer.send(FIRST_MESSAGE)
            began_s = time.monotonic()
            for number in range(round(seconds * 50)):
                time.sleep(max(0.0, began_s + number * 0.02 - time.monotonic()))
                peer.send(bytes(640))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, speak, "/slow", 1.0)
        tasks.start_soon(anyio.to_thread.run_sync, speak, "/quick", 1.4)
    await handle.stop(0)
    first, last = turns.index("quick"), len(turns) - 1 - turns[::-1].index("quick")
    runs = [len(run) for run in "".join(turn[0] for turn in turns[first:last]).split("q") if run]
    assert turns.count("slow") >= 30
    assert sum(run > 2 for run in runs) <= len(runs) // 10  # a busy machine may hold the quick caller up now and then
