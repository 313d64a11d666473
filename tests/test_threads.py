"""Clients that are used from other threads, with event loops of their own and without."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from conftest import FIRST_MESSAGE

from vonage_audio_connector_server import (
    DTMF,
    AudioConnector,
    AudioConnectorAudioError,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorJSONError,
    AudioFormat,
    Client,
    FlushResult,
    PlaybackResult,
)
from vonage_audio_connector_server.call.threads import Threads
from vonage_audio_connector_server.runtime import call_clock, make_timer

pytestmark = pytest.mark.anyio

SCOPE = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
LOOPS: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "asyncio": lambda function: asyncio.run(_coroutine(function)),
    "trio": lambda function: trio.run(function),
}
in_loops = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)


async def _coroutine(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


class Socket:
    """An ASGI connection of the test: what it is told comes in, what goes out is kept."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.texts: list[str] = []
        self.closed: int | None = None
        self._to_app, self._receive = anyio.create_memory_object_stream[dict[str, Any]](1_000)
        self._to_app.send_nowait({"type": "websocket.connect"})
        self.say(FIRST_MESSAGE)

    def say(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_app.send_nowait({"type": "websocket.receive", kind: message})

    def hang_up(self) -> None:
        self._to_app.send_nowait({"type": "websocket.disconnect", "code": 1000})

    async def send(self, message: Any) -> None:
        if message.get("bytes"):
            self.frames.append(message["bytes"])
        elif message.get("text"):
            self.texts.append(message["text"])
        elif message["type"] == "websocket.close":
            self.closed = message["code"]

    async def serve(self, on_connect: Callable[[Client], Awaitable[None]], **options: Any) -> None:
        """Run a call that ends when `on_connect` returns."""

        async def and_hang_up(client: Client) -> None:
            try:
                await client.wait_format()
                await on_connect(client)
            finally:
                self.hang_up()

        with self._to_app, self._receive:
            await AudioConnector(and_hang_up, **options)(SCOPE, self._receive.receive, self.send)


async def elsewhere(run: Callable[..., Any], function: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in an event loop of another thread."""
    return await anyio.to_thread.run_sync(run, function)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections whose time runs a hundred times as fast."""

    def fast_clock() -> Callable[[], float]:
        clock = call_clock()
        return lambda: clock() * 100

    class FastTimer:
        def __init__(self, function: Callable[[float], None]) -> None:
            self._timer = make_timer(lambda due_s: function(due_s * 100))
            self.start, self.stop = self._timer.start, self._timer.stop

        def at(self, due_s: float, now_s: float) -> None:
            self._timer.at(due_s / 100, now_s / 100)

    monkeypatch.setattr("vonage_audio_connector_server.call.call.call_clock", fast_clock)
    monkeypatch.setattr("vonage_audio_connector_server.call.output.make_timer", FastTimer)


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
async def test_fifty_threads_send_to_ten_connections() -> None:
    threads, frames, connections = 50, 1_000, 10
    sockets: list[Socket] = []
    beats = 0

    async def speak(client: Client, number: int) -> None:
        for frame in range(frames):
            await client.send_audio_buffer(struct.pack("<2h", number, frame) * 160)

    async def on_connect(client: Client) -> None:
        mine = [number for number in range(threads) if number % connections == clients.index(client)]
        async with anyio.create_task_group() as speakers:
            for number in mine:
                run = LOOPS["trio" if number % 3 == 0 else "asyncio"]
                limiter = anyio.CapacityLimiter(1)
                speakers.start_soon(
                    lambda run, number, limiter: anyio.to_thread.run_sync(
                        run, lambda: speak(client, number), limiter=limiter
                    ),
                    run,
                    number,
                    limiter,
                )
        assert client.stats().queued_s + client.stats().frames_out * 0.02 == pytest.approx(len(mine) * frames * 0.02)
        await client.drain()

    clients: list[Client] = []

    async def remember_and_connect(client: Client) -> None:
        clients.append(client)
        await on_connect(client)

    async def beat() -> None:
        nonlocal beats
        while True:
            await anyio.sleep(0.01)
            beats += 1

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat)
            async with anyio.create_task_group() as calls:
                for _ in range(connections):
                    sockets.append(Socket())
                    calls.start_soon(lambda socket: socket.serve(remember_and_connect, lead_s=15), sockets[-1])
            tasks.cancel_scope.cancel()
    assert beats > 10  # no thread held up the owner's loop
    heard: dict[int, list[int]] = defaultdict(list)
    for socket in sockets:
        for pcm in socket.frames:
            assert pcm == pcm[:4] * 160  # a frame of one thread is in one piece
            number, frame = struct.unpack("<2h", pcm[:4])
            heard[number].append(frame)
    assert sorted(heard) == list(range(threads))
    assert all(numbers == list(range(frames)) for numbers in heard.values())  # all of them, in order


@in_loops
async def test_every_method_from_another_event_loop(run: Callable[..., Any]) -> None:
    messages: list[Any] = []
    second = b"\1\1" * 16_000

    async def on_connect(client: Client) -> None:
        async def use() -> None:
            assert await client.wait_format() == AudioFormat(16_000)
            assert client.info().audio_format == client.audio_format == AudioFormat(16_000)
            client.set_buffer_timing(active_seconds=0.5)
            await client.send_json_packet({"a": 1})
            playback = await client.send_audio_buffer(second[:3_200], pad_last_frame=True)
            assert await playback.wait() == PlaybackResult(0.1, 0.1, interrupted=False, evidence="clock")
            assert playback.heard_s == 0.1
            assert client.heard_s == pytest.approx(0.1)
            playback = await client.send_audio_buffer(bytearray(second * 20))
            await client.pause()
            await client.resume(rewind_s=0.1)
            await client.notify({"mark": 1})
            result = await client.flush_buffer()
            assert isinstance(result, FlushResult)
            assert result.heard_s + result.dropped_s == pytest.approx(20.1)
            assert (await playback.wait()).interrupted
            await client.drain()
            client.set_handler(on_message=messages.append)
            stats = client.stats()
            assert (stats.flushes, stats.queued_s) == (1, 0.0)
            assert client.close_report is None
            assert repr(client).endswith("open>")

        await elsewhere(run, use)
        socket.say('{"event":"x"}')
        await anyio.wait_all_tasks_blocked()
        assert client._call.session.lead_s == 0.5
        await elsewhere(run, lambda: client.disconnect(4_000, "done"))

    socket = Socket()
    await socket.serve(on_connect)
    assert socket.texts[0] == '{"a":1}'
    assert socket.closed == 4_000
    assert messages[0] == FIRST_MESSAGE  # nobody had taken it


@in_loops
async def test_messages_and_events_in_another_event_loop(run: Callable[..., Any]) -> None:
    async def on_connect(client: Client) -> None:
        async def listen() -> None:
            taken = []
            async for message in client:
                taken.append(message)
                if len(taken) == 2:
                    break
            assert taken == [FIRST_MESSAGE, '{"event":"x"}']
            events = client.events()
            socket_says('{"event":"websocket:dtmf","digit":"5","duration":260}')
            event = await anext(events)
            assert isinstance(event, DTMF)
            assert (event.digit, event.duration_ms) == ("5", 260)
            with anyio.move_on_after(0.05) as waited:
                await anext(events)
            assert waited.cancelled_caught
            socket_says("kept")  # a wait that was cancelled has taken nothing
            event = await anext(events)
            assert event.text == "kept"  # type: ignore[union-attr]
            socket_hangs_up()
            assert [event async for event in events] == []

        await elsewhere(run, listen)

    socket = Socket()
    threads: Threads | None = None

    async def and_know_threads(client: Client) -> None:
        nonlocal threads
        threads = client._call.threads
        await on_connect(client)

    def socket_says(text: str) -> None:
        assert threads is not None
        threads.run_soon(socket.say, text)

    def socket_hangs_up() -> None:
        assert threads is not None
        threads.run_soon(socket.hang_up)

    socket.say('{"event":"x"}')
    await socket.serve(and_know_threads)


async def test_a_plain_thread_without_event_loop() -> None:
    def use(client: Client) -> None:
        for number in range(100):
            _ = client.send_audio_buffer(struct.pack("<h", number) * 320)  # in order, and without waiting
        playback = client.send_audio_buffer(b"\1\1" * 320)
        assert playback.result(5).duration_s == 0.02
        flushed = client.flush_buffer()
        result = flushed.result(5)
        assert result.heard_s + result.dropped_s == pytest.approx(101 * 0.02)
        with pytest.raises(AudioConnectorAudioError, match="half a sample"):
            _ = client.send_audio_buffer(b"\1")
        with pytest.raises(AudioConnectorJSONError):
            _ = client.send_json_packet("not json")
        with pytest.raises(AudioConnectorJSONError):
            client.notify({1, 2})
        with pytest.raises(AudioConnectorConfigError):
            client.resume(5.0)
        with pytest.raises(AudioConnectorAudioError, match="carries 16000 Hz"):
            client.send_audio_buffer(bytes(320), bytes_per_sample=320)

    async def on_connect(client: Client) -> None:
        await anyio.to_thread.run_sync(use, client)

    socket = Socket()
    await socket.serve(on_connect)
    numbers = [struct.unpack("<h", pcm[:2])[0] for pcm in socket.frames]
    assert numbers == list(range(len(numbers)))


@in_loops
async def test_after_the_end(run: Callable[..., Any]) -> None:
    kept: list[Client] = []
    playbacks: list[Any] = []

    async def on_connect(client: Client) -> None:
        kept.append(client)
        playbacks.append(await client.send_audio_buffer(b"\1\1" * 16_000 * 5))

    async def use() -> None:
        (client,) = kept
        with pytest.raises(AudioConnectorClosedError):
            await client.send_audio_buffer(bytes(640))
        with pytest.raises(AudioConnectorClosedError):
            await client.send_json_packet("{}")
        with pytest.raises(AudioConnectorClosedError):
            await client.flush_buffer()
        await client.drain()
        await client.disconnect()
        client.set_buffer_timing(1.0)
        client.set_handler()
        assert (await playbacks[0].wait()).interrupted
        assert [message async for message in client] == []
        stats = client.stats()
        assert stats.heard_s + stats.dropped_out_s == pytest.approx(5.0)
        assert client.close_report is not None
        assert client.close_report.closed_by == "session"

    await Socket().serve(on_connect)
    await elsewhere(run, use)
    await use()


@in_loops
async def test_the_end_wakes_who_waits_elsewhere(run: Callable[..., Any]) -> None:
    ended: list[str] = []
    waiting = threading.Event()

    async def on_connect(client: Client) -> None:
        playback = await client.send_audio_buffer(b"\1\1" * 16_000 * 60)

        async def wait() -> None:
            async with anyio.create_task_group() as tasks:

                async def for_playback() -> None:
                    assert (await playback.wait()).interrupted
                    ended.append("playback")

                async def for_drain() -> None:
                    await client.drain()
                    ended.append("drain")

                async def for_messages() -> None:
                    async for _ in client:
                        waiting.set()
                    ended.append("messages")

                for function in (for_playback, for_drain, for_messages):
                    tasks.start_soon(function)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(elsewhere, run, wait)
            await anyio.to_thread.run_sync(waiting.wait, 5)
            client.disconnect()

    with anyio.fail_after(10):
        await Socket().serve(on_connect)
    assert sorted(ended) == ["drain", "messages", "playback"]


async def test_a_blocked_owner_does_not_block_the_others_loop() -> None:
    beats: list[float] = []

    async def on_connect(client: Client) -> None:
        started = threading.Event()

        async def use() -> None:
            async def beat() -> None:
                for _ in range(20):
                    await anyio.sleep(0.005)
                    beats.append(time.monotonic())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beat)
                started.set()
                await client.send_audio_buffer(bytes(640))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(elsewhere, LOOPS["asyncio"], use)
            await anyio.to_thread.run_sync(started.wait, 5)
            blocked_s = time.monotonic()
            time.sleep(0.5)  # noqa: ASYNC251 (that is what is tested)
            assert sum(blocked_s <= at_s <= blocked_s + 0.5 for at_s in beats) >= 5

    await Socket().serve(on_connect, watchdog=False)


@in_loops
async def test_disconnect_from_elsewhere_returns_when_it_is_done(run: Callable[..., Any]) -> None:
    async def on_connect(client: Client) -> None:
        async def hang_up() -> None:
            await client.disconnect(4_003)
            await client.disconnect(4_004)  # does nothing

        await elsewhere(run, hang_up)

    socket = Socket()
    await socket.serve(on_connect)
    assert socket.closed == 4_003


async def test_a_plain_thread_waits_with_result() -> None:
    ended: list[Client] = []

    def result_of(call: Any) -> Any:
        return call.result(5)

    def use(client: Client) -> None:
        assert result_of(client.wait_format()) == AudioFormat(16_000)
        playback = result_of(client.send_audio_buffer(b"\1\1" * 1_600, pad_last_frame=True))
        result_of(client.drain())
        assert result_of(playback.wait()).heard_s == 0.1
        long = result_of(client.send_audio_buffer(b"\1\1" * 160_000))
        result_of(client.disconnect())
        assert result_of(long.wait()).interrupted
        result_of(client.drain())
        result_of(client.disconnect())

    async def on_connect(client: Client) -> None:
        ended.append(client)
        await anyio.to_thread.run_sync(use, client)

    await Socket().serve(on_connect)
    (client,) = ended
    assert client.stats().dropped_out_s > 9  # on both, and after the end


async def test_handlers_that_are_set_one_by_one_in_a_thread_all_stay() -> None:
    told: list[object] = []

    def use(client: Client) -> None:
        client.on_message = told.append
        client.on_disconnect = lambda: told.append("gone")
        client.on_error = told.append
        with pytest.raises(AudioConnectorConfigError, match="on_error must be a function"):
            client.on_error = "print"  # type: ignore[assignment]

    async def on_connect(client: Client) -> None:
        await anyio.to_thread.run_sync(use, client)
        await anyio.wait_all_tasks_blocked()
        assert client.on_message == told.append

    await Socket().serve(on_connect)
    assert told == [FIRST_MESSAGE, "gone"]


async def test_a_call_while_the_connection_is_being_cancelled_is_refused_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.call.call.CLOSE_S", 0.2)
    errors: list[Exception] = []
    socket = Socket()
    closing = anyio.Event()

    async def blocked(message: Any) -> None:
        if message["type"] != "websocket.accept":
            closing.set()
            await anyio.sleep_forever()

    async def on_connect(client: Client) -> None:
        clients.append(client)

    def use(client: Client) -> None:
        try:
            asyncio.run(_coroutine(lambda: client.send_audio_buffer(bytes(640))))
        except AudioConnectorClosedError as exc:
            errors.append(exc)

    clients: list[Client] = []
    app = AudioConnector(on_connect, watchdog=False)
    with socket._to_app, socket._receive:
        async with anyio.create_task_group() as server:
            server.start_soon(app, SCOPE, socket._receive.receive, blocked)
            while not clients:  # noqa: ASYNC110 (it tells nobody)
                await anyio.sleep(0.001)
            async with anyio.create_task_group() as users:
                server.cancel_scope.cancel()
                users.cancel_scope.shield = True
                await closing.wait()
                users.start_soon(anyio.to_thread.run_sync, use, clients[0])
    assert len(errors) == 1
