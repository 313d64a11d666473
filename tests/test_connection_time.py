"""What a connection does in time: on trio's virtual clock, against a socket that is played by the test."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio.testing
from conftest import FIRST_MESSAGE, FRAME_BYTES

from vonage_audio_connector_server import AudioConnector, AudioFormat, Client
from vonage_audio_connector_server.simulator.router import Router

pytestmark = pytest.mark.anyio

FRAME_S = 0.02
SCOPE = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class PlayedSocket:
    """An ASGI connection whose far end is a `Router`; `write_delay_s` says how long a write is held up."""

    def __init__(self, write_delay_s: Callable[[], float] = lambda: 0.0) -> None:
        self.start_s = anyio.current_time()
        self.peer = Router(AudioFormat(), self.start_s)
        self.sent: list[tuple[float, Any]] = []  # (seconds since the accept, message)
        self._write_delay_s = write_delay_s
        self._to_app, self._receive = anyio.create_memory_object_stream[dict[str, Any]](100)
        self.say({"type": "websocket.connect"})

    def say(self, message: dict[str, Any] | str | bytes) -> None:
        if isinstance(message, str):
            message = {"type": "websocket.receive", "text": message}
        elif isinstance(message, bytes):
            message = {"type": "websocket.receive", "bytes": message}
        self._to_app.send_nowait(message)

    async def receive(self) -> dict[str, Any]:
        return await self._receive.receive()

    async def send(self, message: Any) -> None:
        if delay_s := self._write_delay_s():
            await anyio.sleep(delay_s)
        now_s = anyio.current_time()
        self.sent.append((now_s - self.start_s, message.get("bytes") or message.get("text") or message))
        if message.get("bytes"):
            self.peer.receive_bytes(message["bytes"], now_s)
        elif message.get("text"):
            self.peer.receive_text(message["text"], now_s)

    @property
    def frames(self) -> list[tuple[float, bytes]]:
        return [(at_s, message) for at_s, message in self.sent if isinstance(message, bytes)]

    async def serve(self, app: AudioConnector) -> None:
        """Run the application on this connection, to its end."""
        await app(SCOPE, self.receive, self.send)
        self.peer.advance(anyio.current_time() + 1)
        self._to_app.close()
        self._receive.close()

    async def call(self, on_connect: Callable[[Client], Awaitable[None]], **options: Any) -> None:
        """Run a call in which the peer hangs up when `on_connect` returns; what that raises is raised here."""
        failed: list[Exception] = []

        async def and_hang_up(client: Client) -> None:
            try:
                await on_connect(client)
            except Exception as exc:  # noqa: BLE001 (a test asserts there, too, and the connector would only log it)
                failed.append(exc)
            self.say({"type": "websocket.disconnect", "code": 1000})

        await self.serve(AudioConnector(and_hang_up, **options))
        if failed:
            raise failed[0]


async def test_a_peer_that_reads_slowly_is_not_given_up() -> None:
    socket = PlayedSocket(lambda: 3.0)
    ended: list[object] = []

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        for number in range(8):  # 24 s in all, and each is taken in time
            client.send_json_packet({"n": number})
        await anyio.sleep(40)
        ended.append(client.close_report)

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)

    assert ended == [None]
    assert [message for _, message in socket.sent if isinstance(message, str)] == [f'{{"n":{n}}}' for n in range(8)]


async def until_played(client: Client) -> None:
    while (stats := client.stats()).queued_s or stats.ahead_s:  # noqa: ASYNC110 (virtual time)
        await anyio.sleep(0.5)


@pytest.mark.parametrize("seed", [1, 2])
async def test_ten_minutes_without_a_gap_while_writes_are_held_up(seed: int) -> None:
    rng = random.Random(seed)
    stalls = iter([0.15])
    started_s = anyio.current_time()

    def delay_s() -> float:
        if anyio.current_time() - started_s > 300:
            return next(stalls, 0.0) or (0.03 if rng.random() < 0.01 / 5 else 0.0)
        return 0.03 if rng.random() < 0.01 / 5 else 0.0  # five frames a wake-up

    socket = PlayedSocket(delay_s)
    minute = rng.randbytes(60 * 32_000)

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        for _ in range(10):
            await client.send_audio_buffer(minute)
        await until_played(client)

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)

    (run,) = socket.peer.runs
    assert run.ticks == 30_000
    assert bytes(socket.peer.heard[FRAME_BYTES:]).startswith(minute)
    assert socket.peer.furthest_ahead_s <= 0.2 + 0.1 + 1e-6
    for number, (at_s, _) in enumerate(socket.frames):
        turn_s = number * FRAME_S
        assert turn_s - 0.3 - 1e-6 <= at_s <= turn_s + 1e-6
    last_s, _ = socket.frames[-1]
    assert 30_000 * FRAME_S - last_s >= 0.15  # on its deadline still: no drift after ten minutes


async def test_a_stall_longer_than_lead_and_batch_is_heard_so_the_check_above_can_fail() -> None:
    stalls = iter([0.0] * 500 + [0.5])
    socket = PlayedSocket(lambda: next(stalls, 0.0))

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(bytes(32_000 * 20))
        await until_played(client)

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert len(socket.peer.runs) == 2


async def test_what_on_connect_says_waits_one_second_for_a_format_and_then_takes_the_configured_one() -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(bytes(range(160)) * 2)
        assert client.audio_format is None
        assert await client.wait_format() == AudioFormat(8_000)
        await until_played(client)

    await socket.call(on_connect, rate_hz=8_000)
    assert [(round(at_s, 6), len(frame)) for at_s, frame in socket.frames] == [(1.0, 320)]


async def test_a_call_that_names_its_frame_does_not_wait() -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(bytes(640), bytes_per_sample=640, frames_ms=20)
        assert client.audio_format == AudioFormat(16_000)
        await until_played(client)  # a peer that hangs up in the same moment may not get it

    await socket.call(on_connect)
    assert [at_s for at_s, _ in socket.frames] == [0.0]


async def test_the_format_comes_from_the_first_frame_where_no_text_told_it() -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(bytes(960 * 2))
        assert await client.wait_format() == AudioFormat(24_000)
        await until_played(client)

    socket.say(bytes(960))
    await socket.call(on_connect)
    assert [(at_s, len(frame)) for at_s, frame in socket.frames] == [(0.0, 960), (0.0, 960)]


async def test_the_rest_of_an_utterance_goes_out_padded_in_time_for_its_turn() -> None:
    socket = PlayedSocket()
    speech = b"\1\2" * 8_000 + b"\3\4" * 100  # one second and a rest

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(speech)
        await until_played(client)

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    (run,) = socket.peer.runs
    assert run.ticks == 26  # 25 frames of a half second, and the rest, without a hole before it
    assert socket.frames[-1][1] == b"\3\4" * 100 + bytes(440)


async def test_a_live_source_of_half_frames_gets_no_silence_into_its_middle() -> None:
    socket = PlayedSocket()
    speech = random.Random(3).randbytes(320 * 300)  # 10 ms at a time

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        for at in range(0, len(speech), 320):
            await client.send_audio_buffer(speech[at : at + 320])
            await anyio.sleep(0.01)
        await until_played(client)

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert b"".join(frame for _, frame in socket.frames) == speech


async def test_audio_after_a_flush_is_due_at_once_though_the_writer_sleeps() -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        for _ in range(100):
            await client.send_audio_buffer(b"\1\1" * 16_000 * 60)
            await anyio.sleep(random.Random(client.stats().flushes).random())
            flushed_s = anyio.current_time() - socket.start_s
            old_frames = len(socket.frames)
            client.flush_buffer()
            await client.send_audio_buffer(b"\2\2" * 320 * 50)
            await anyio.sleep(0.001)  # the task that sends runs
            new = socket.frames[old_frames:]
            assert [at_s for at_s, _ in new] == [flushed_s] * 15  # lead and batch, at once
            assert {frame for _, frame in new} == {b"\2\2" * 320}
            await until_played(client)
            assert len(socket.frames) - old_frames == 50

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert socket.peer.wrong_size == 0


async def test_a_longer_lead_applies_while_audio_plays() -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(bytes(32_000 * 30))
        await anyio.sleep(5)
        assert 0.2 <= client.stats().ahead_s <= 0.3
        client.set_buffer_timing(active_seconds=2.0)
        await anyio.sleep(1)
        assert 2.0 <= client.stats().ahead_s <= 2.1

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)


async def test_messages_that_nobody_takes_are_bounded_and_the_loss_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    socket = PlayedSocket()

    async def on_connect(client: Client) -> None:
        for number in range(2_000):
            socket.say(number.to_bytes(2, "little") * 320)
            await anyio.sleep(FRAME_S)
        stats = client.stats()
        assert stats.dropped_in == stats.frames_in - 1024 * 1024 // FRAME_BYTES
        first = await anext(aiter(client))
        assert isinstance(first, bytes)
        assert int.from_bytes(first[:2], "little") == stats.dropped_in  # the oldest went first

    await socket.call(on_connect)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no on_message handler is set" in caplog.text


async def test_a_program_that_only_speaks_keeps_no_messages() -> None:
    socket = PlayedSocket()
    clients: list[Client] = []

    async def on_connect(client: Client) -> None:
        clients.append(client)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(socket.serve, AudioConnector(on_connect))
        for _ in range(2_000):
            socket.say(bytes(640))
            await anyio.sleep(FRAME_S)
        socket.say({"type": "websocket.disconnect", "code": 1000})
    assert clients[0].stats().frames_in == 2_000
    assert clients[0].stats().dropped_in == 0


async def test_a_handler_that_waits_a_minute_does_not_hide_the_messages_behind_it() -> None:
    socket = PlayedSocket()
    heard: list[bytes | str] = []

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            heard.append(message)
            if len(heard) == 1:
                await anyio.sleep(20)
                assert client.stats().frames_in == 1_000  # read meanwhile, so that the keep-alive works
                assert len(heard) == 1

        client.set_handler(on_message=on_message)
        for number in range(1_000):
            socket.say(number.to_bytes(2, "little") * 320)
            await anyio.sleep(0.01)
        await anyio.sleep(15)

    await socket.call(on_connect)
    assert heard == [number.to_bytes(2, "little") * 320 for number in range(1_000)]


async def test_on_connect_and_a_handler_have_five_seconds_after_the_end() -> None:
    socket = PlayedSocket()
    ended: list[tuple[str, float]] = []

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            await anyio.sleep(4)
            ended.append(("handler", anyio.current_time() - socket.start_s))

        client.set_handler(
            on_message=on_message,
            on_disconnect=lambda: ended.append(("gone", anyio.current_time() - socket.start_s)),
        )
        socket.say(bytes(640))
        socket.say({"type": "websocket.disconnect", "code": 1000})
        await anyio.sleep(60)

    await socket.serve(AudioConnector(on_connect))
    assert [(what, round(at_s, 6)) for what, at_s in ended] == [("handler", 4.0), ("gone", 5.0)]


async def test_a_drain_waits_for_a_socket_that_takes_nothing() -> None:
    held_up = iter([0.0, 1.0])
    socket = PlayedSocket(lambda: next(held_up, 0.0))

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        await client.send_audio_buffer(b"\1\1" * 3_200, pad_last_frame=True)
        await client.drain()
        assert anyio.current_time() - started_s == pytest.approx(1.2, abs=0.03)
        await client.disconnect()

    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert socket.peer.heard.count(1) == 6_400  # the goodbye was heard whole
