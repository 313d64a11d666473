"""What was heard, as a program learns it: on trio's virtual clock, against the router's playout model."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio.testing
from conftest import FIRST_MESSAGE
from test_connection_time import PlayedSocket

from vonage_audio_connector_server import (
    AudioConnectorFullError,
    Client,
    FlushResult,
    Playback,
    PlaybackResult,
)

pytestmark = pytest.mark.anyio

SECOND = b"\1\1" * 16_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def talk(on_connect: Callable[[Client], Awaitable[None]], **options: Any) -> PlayedSocket:
    socket = PlayedSocket(answers=True)
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect, **options)
    return socket


def played_s(socket: PlayedSocket) -> float:
    socket.peer.advance(anyio.current_time())
    return socket.peer.heard.count(1) / 32_000


async def test_a_playback_ends_when_it_has_been_heard() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(SECOND * 2)
        assert isinstance(playback, Playback)
        assert (playback.duration_s, playback.heard_s) == (2.0, 0.0)
        await anyio.sleep(0.5)
        assert playback.heard_s == pytest.approx(0.5, abs=0.001)
        assert repr(playback) == "<Playback heard 0.50 of 2.00 s>"
        assert await playback.wait() == PlaybackResult(2.0, 2.0, interrupted=False, evidence="clock")
        assert anyio.current_time() - started_s == pytest.approx(2.0, abs=0.002)
        assert await playback.wait() == PlaybackResult(2.0, 2.0, interrupted=False, evidence="clock")
        assert client.heard_s == 2.0

    await talk(on_connect)


async def test_each_of_several_calls_has_its_own() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        first, second = [await client.send_audio_buffer(SECOND[:24_000]) for _ in range(2)]
        await first.wait()
        assert anyio.current_time() - started_s == pytest.approx(0.75, abs=0.002)
        assert second.heard_s == pytest.approx(0.0, abs=0.002)
        result = await client.flush_buffer()
        assert result.heard_s == pytest.approx(0.75, abs=0.002)
        assert result.dropped_s == pytest.approx(0.75, abs=0.002)
        assert result.heard_s + result.dropped_s == 1.5
        assert 0.2 <= result.sent_dropped_s <= 0.3
        assert await first.wait() == PlaybackResult(0.75, 0.75, interrupted=False, evidence="clock")
        assert (await second.wait()).interrupted

    await talk(on_connect)


async def test_a_waiting_program_learns_of_the_interruption_at_once() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        playback = await client.send_audio_buffer(SECOND * 60)
        async with anyio.create_task_group() as tasks:

            async def interrupt() -> None:
                await anyio.sleep(1.0)
                client.flush_buffer()

            tasks.start_soon(interrupt)
            started_s = anyio.current_time()
            result = await playback.wait()
        assert anyio.current_time() - started_s == 1.0
        assert result.interrupted
        assert result.heard_s == pytest.approx(1.0, abs=0.001)
        assert result.duration_s == 60.0

    await talk(on_connect)


@pytest.mark.parametrize("lead_s", [0.04, 0.2, 1.0])
async def test_what_is_told_is_what_the_router_played(lead_s: float) -> None:
    rng = random.Random(7)

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        told_s = 0.0
        for _ in range(40):
            before_s = played_s(socket)
            await client.send_audio_buffer(SECOND[: 2 * rng.randrange(1, 16_000)] * rng.randrange(1, 4))
            await anyio.sleep(rng.uniform(0, 2.5))
            result = await client.flush_buffer()
            told_s += result.heard_s
            assert abs(played_s(socket) - before_s - result.heard_s) <= 0.02 + 1e-6
            assert client.heard_s == pytest.approx(told_s, abs=1e-9)
            await anyio.sleep(rng.uniform(0.02, 0.1))
        assert client.stats().heard_s == client.heard_s

    socket = PlayedSocket(answers=True)
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect, lead_s=lead_s)


async def test_the_end_of_the_call_ends_every_wait_and_the_rest_is_dropped() -> None:
    results: list[PlaybackResult] = []
    clients: list[Client] = []

    async def on_connect(client: Client) -> None:
        clients.append(client)
        await client.wait_format()
        playback = await client.send_audio_buffer(SECOND * 10)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                results.append(await playback.wait())

            tasks.start_soon(wait)
            tasks.start_soon(client.drain)
            await anyio.sleep(2.0)
            client.disconnect()
        results.append(await playback.wait())
        await client.drain()

    await talk(on_connect)
    assert [result.interrupted for result in results] == [True, True]
    assert results[0].heard_s == pytest.approx(2.0, abs=0.001)
    stats = clients[0].stats()
    assert stats.heard_s + stats.dropped_out_s == 10.0
    report = clients[0].close_report
    assert report is not None
    assert (report.closed_by, report.code) == ("program", 1000)
    assert report.stats.heard_s == stats.heard_s


async def test_the_router_confirms() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        first = await client.send_audio_buffer(SECOND)
        second = await client.send_audio_buffer(SECOND)
        assert await first.wait(confirm=True) == PlaybackResult(1.0, 1.0, interrupted=False, evidence="notify")
        assert anyio.current_time() - started_s == pytest.approx(1.0, abs=0.03)
        assert (await second.wait()).evidence == "clock"
        assert (await second.wait(confirm=True)).evidence == "notify"  # asked when it had been heard already

    socket = await talk(on_connect)
    assert [kind for kind in socket.sent if isinstance(kind[1], str)]


async def test_a_router_that_never_answers_costs_a_second() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(SECOND)
        assert (await playback.wait(confirm=True)).evidence == "clock"
        assert anyio.current_time() - started_s == pytest.approx(2.0, abs=0.03)

    socket = PlayedSocket()
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)


async def test_a_confirmation_that_is_waited_for_ends_with_a_flush() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        playback = await client.send_audio_buffer(SECOND * 5)
        with anyio.move_on_after(1.0):
            await playback.wait(confirm=True)
        client.flush_buffer()
        with anyio.fail_after(0.5):
            result = await playback.wait(confirm=True)
        assert (result.interrupted, result.evidence) == (True, "clock")

    await talk(on_connect)


async def test_pause_and_resume_lose_nothing() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        playback = await client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.0)
        await client.pause()
        await client.pause()  # does nothing
        paused_s = played_s(socket)
        await client.send_audio_buffer(SECOND)  # waits
        with anyio.move_on_after(5.0) as waited:
            await client.drain()
        assert waited.cancelled_caught
        assert played_s(socket) - paused_s <= 0.02
        assert playback.heard_s == pytest.approx(1.0, abs=0.02)
        await client.resume()
        assert (await playback.wait()).heard_s == 3.0
        await client.drain()
        assert client.heard_s == 4.0

    socket = PlayedSocket(answers=True)
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert 4.0 <= socket.peer.heard.count(1) / 32_000 <= 4.04  # the frame in which it fell silent is heard again
    assert socket.peer.furthest_ahead_s <= 0.3 + 1e-6


async def test_a_rewind_repeats_what_was_heard() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.5)
        client.pause()
        await anyio.sleep(0.2)
        client.resume(rewind_s=0.5)
        await client.drain()
        assert client.heard_s == 3.0  # of the program's audio; some of it twice

    socket = await talk(on_connect)
    assert 3.5 <= socket.peer.heard.count(1) / 32_000 <= 3.54


async def test_a_flush_ends_a_pause() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.0)
        client.pause()
        result = await client.flush_buffer()
        assert isinstance(result, FlushResult)
        assert result.heard_s == pytest.approx(1.0, abs=0.001)
        assert result.dropped_s == pytest.approx(2.0, abs=0.001)
        assert result.sent_dropped_s == 0.0
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(SECOND)
        await playback.wait()
        assert anyio.current_time() - started_s == pytest.approx(1.0, abs=0.002)

    await talk(on_connect)


async def test_a_goodbye_is_heard_whole() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND * 2, pad_last_frame=True)
        await client.drain()
        await client.disconnect()

    socket = PlayedSocket()
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert socket.peer.heard.count(1) == 64_000


async def test_a_full_queue_makes_the_caller_wait() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        await client.send_audio_buffer(SECOND * 13)  # one call is accepted whole, and then it waits
        waited_s = anyio.current_time() - started_s
        assert waited_s == pytest.approx(3.0, abs=0.4)
        assert client.stats().queued_s <= 10.0
        async with anyio.create_task_group() as tasks:

            async def say_more() -> None:
                playback = await client.send_audio_buffer(SECOND * 4)
                assert playback.heard_s == 0.0

            tasks.start_soon(say_more)
            await anyio.sleep(0.5)
            started_s = anyio.current_time()
            client.flush_buffer()  # makes room, and drops what the waiting caller brought
        assert anyio.current_time() - started_s < 0.01
        assert client.stats().queued_s == 0.0

    await talk(on_connect, max_queued_s=10.0)


async def test_or_raises() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND * 13)
        with pytest.raises(AudioConnectorFullError, match=r"^12\.7 s of audio wait to be sent, 10 are allowed"):
            await client.send_audio_buffer(SECOND)
        await client.send_audio_buffer(SECOND, flush_buffer=True)
        await client.drain()
        assert client.heard_s == pytest.approx(1.0, abs=1e-9)

    await talk(on_connect, max_queued_s=10.0, when_full="raise")


async def test_a_call_that_lasts_too_long_is_closed() -> None:
    ended: list[float] = []

    async def on_connect(client: Client) -> None:
        started_s = anyio.current_time()
        async for _ in client:
            pass
        ended.append(anyio.current_time() - started_s)
        assert client.close_report is None or client.close_report.reason == "max_duration_s"

    socket = await talk(on_connect, max_duration_s=90.0)
    assert ended == [pytest.approx(90.0, abs=0.001)]
    assert socket.sent[-1][1] == {"type": "websocket.close", "code": 1000, "reason": "max_duration_s"}


async def test_a_drain_waits_for_a_socket_that_takes_nothing() -> None:
    held_up = iter([0.0, 1.0])

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        started_s = anyio.current_time()
        await client.send_audio_buffer(SECOND[:6_400], pad_last_frame=True)
        await client.drain()
        assert anyio.current_time() - started_s == pytest.approx(1.2, abs=0.03)
        await client.disconnect()

    socket = PlayedSocket(lambda: next(held_up, 0.0))
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
    assert socket.peer.heard.count(1) == 6_400  # the goodbye was heard whole


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
async def test_waiting_for_audio_that_waits_for_the_format(rate_hz: int) -> None:
    async def on_connect(client: Client) -> None:
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(b"\1\1" * rate_hz)
        async with anyio.create_task_group() as tasks:

            async def connect_late() -> None:
                await anyio.sleep(0.5)
                socket.say(FIRST_MESSAGE.replace("16000", str(rate_hz)))

            tasks.start_soon(connect_late)
            assert (await playback.wait()).heard_s == 1.0
        assert anyio.current_time() - started_s == pytest.approx(1.5, abs=0.01)

    socket = PlayedSocket()
    await socket.call(on_connect)


async def test_a_wait_that_was_cancelled_changes_nothing_for_the_next() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        playback = await client.send_audio_buffer(SECOND)
        with anyio.move_on_after(0.3):
            await playback.wait(confirm=True)
        started_s = anyio.current_time()
        assert (await playback.wait(confirm=True)).evidence == "notify"
        assert anyio.current_time() - started_s == pytest.approx(0.7, abs=0.03)

    await talk(on_connect)


async def test_a_program_that_has_fallen_silent_keeps_no_audio() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND * 3, pad_last_frame=True)
        await client.drain()
        assert client._call.session.out._history
        socket.say(bytes(640))
        await anyio.sleep(0.1)
        assert not client._call.session.out._history

    socket = PlayedSocket()
    socket.say(FIRST_MESSAGE)
    await socket.call(on_connect)
