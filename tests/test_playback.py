"""What was heard, as a program learns it, against the router's playout model: on the test kit's virtual clock."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorFullError,
    Client,
    FlushResult,
    Playback,
    PlaybackResult,
)
from vonage_audio_connector_server.testing import TestCall, on_virtual_clock, session

SECOND = b"\1\1" * 16_000


@asynccontextmanager
async def talking(
    *, router: Any = "lenient", silence: Any = "none", call_hz: Any = 16_000, **options: Any
) -> AsyncIterator[tuple[Client, TestCall]]:
    """A call as both sides have it: the program's client, which knows its format, and the caller."""
    clients: list[Client] = []
    is_known = anyio.Event()

    async def on_connect(client: Client) -> None:
        clients.append(client)
        await client.wait_format()
        is_known.set()

    async with session(AudioConnector(on_connect, **options), router=router, silence=silence, rate_hz=call_hz) as call:
        await is_known.wait()
        yield clients[0], call


def played_s(call: TestCall) -> float:
    return call.heard.count(1) / 32_000


@on_virtual_clock
async def test_a_playback_ends_when_it_has_been_heard() -> None:
    async with talking() as (client, _):
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


@on_virtual_clock
async def test_each_of_several_calls_has_its_own() -> None:
    async with talking() as (client, _):
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


@on_virtual_clock
async def test_a_waiting_program_learns_of_the_interruption_at_once() -> None:
    async with talking() as (client, _), anyio.create_task_group() as tasks:
        playback = await client.send_audio_buffer(SECOND * 60)

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


@pytest.mark.parametrize("lead_s", [0.04, 0.2, 1.0])
@on_virtual_clock
async def test_what_is_told_is_what_the_router_played(lead_s: float) -> None:
    rng = random.Random(7)
    async with talking(lead_s=lead_s) as (client, call):
        told_s = 0.0
        for _ in range(40):
            before_s = played_s(call)
            await client.send_audio_buffer(SECOND[: 2 * rng.randrange(1, 16_000)] * rng.randrange(1, 4))
            await anyio.sleep(rng.uniform(0, 2.5))
            result = await client.flush_buffer()
            told_s += result.heard_s
            assert abs(played_s(call) - before_s - result.heard_s) <= 0.02 + 1e-6
            assert client.heard_s == pytest.approx(told_s, abs=1e-9)
            await anyio.sleep(rng.uniform(0.02, 0.1))
        assert client.stats().heard_s == client.heard_s


@on_virtual_clock
async def test_the_end_of_the_call_ends_every_wait_and_the_rest_is_dropped() -> None:
    results: list[PlaybackResult] = []
    async with talking() as (client, _):
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

    assert [result.interrupted for result in results] == [True, True]
    assert results[0].heard_s == pytest.approx(2.0, abs=0.001)
    stats, report = client.stats(), client.close_report
    assert stats.heard_s + stats.dropped_out_s == 10.0
    assert report is not None
    assert (report.closed_by, report.code) == ("program", 1000)
    assert report.stats.heard_s == stats.heard_s


@on_virtual_clock
async def test_the_router_confirms() -> None:
    async with talking() as (client, call):
        started_s = anyio.current_time()
        first = await client.send_audio_buffer(SECOND)
        second = await client.send_audio_buffer(SECOND)
        assert await first.wait(confirm=True) == PlaybackResult(1.0, 1.0, interrupted=False, evidence="notify")
        assert anyio.current_time() - started_s == pytest.approx(1.0, abs=0.03)
        assert (await second.wait()).evidence == "clock"
        assert (await second.wait(confirm=True)).evidence == "notify"  # asked when it had been heard already
        assert [(event.data or {}).get("action") for event in call.events] == ["notify", "notify"]


@on_virtual_clock
async def test_a_router_that_never_answers_costs_a_second() -> None:
    async with talking(router="strict") as (client, _):
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(SECOND)
        assert (await playback.wait(confirm=True)).evidence == "clock"
        assert anyio.current_time() - started_s == pytest.approx(2.0, abs=0.03)


@on_virtual_clock
async def test_a_confirmation_that_is_waited_for_ends_with_a_flush() -> None:
    async with talking() as (client, _):
        playback = await client.send_audio_buffer(SECOND * 5)
        with anyio.move_on_after(1.0):
            await playback.wait(confirm=True)
        client.flush_buffer()
        with anyio.fail_after(0.5):
            result = await playback.wait(confirm=True)
        assert (result.interrupted, result.evidence) == (True, "clock")


@on_virtual_clock
async def test_pause_and_resume_lose_nothing() -> None:
    async with talking() as (client, call):
        playback = await client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.0)
        await client.pause()
        await client.pause()  # does nothing
        paused_s = played_s(call)
        await client.send_audio_buffer(SECOND)  # waits
        with anyio.move_on_after(5.0) as waited:
            await client.drain()
        assert waited.cancelled_caught
        assert played_s(call) - paused_s <= 0.02
        assert playback.heard_s == pytest.approx(1.0, abs=0.02)
        await client.resume()
        assert (await playback.wait()).heard_s == 3.0
        await client.drain()
        assert client.heard_s == 4.0

    assert 4.0 <= played_s(call) <= 4.04  # the frame in which it fell silent is heard again
    assert call.twin.router.furthest_ahead_s <= 0.3 + 0.02 + 1e-6  # the router's tick comes up to 20 ms later


@on_virtual_clock
async def test_a_rewind_repeats_what_was_heard() -> None:
    async with talking() as (client, call):
        await client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.5)
        client.pause()
        await anyio.sleep(0.2)
        client.resume(rewind_s=0.5)
        await client.drain()
        assert client.heard_s == 3.0  # of the program's audio; some of it twice

    assert 3.5 <= played_s(call) <= 3.54


@on_virtual_clock
async def test_a_flush_ends_a_pause() -> None:
    async with talking() as (client, _):
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


@on_virtual_clock
async def test_a_goodbye_is_heard_whole() -> None:
    async with talking() as (client, call):
        await client.send_audio_buffer(SECOND * 2, pad_last_frame=True)
        await client.drain()
        await client.disconnect()

    assert call.heard.count(1) == 64_000


@on_virtual_clock
async def test_a_full_queue_makes_the_caller_wait() -> None:
    async with talking(max_queued_s=10.0) as (client, _):
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


@on_virtual_clock
async def test_or_raises() -> None:
    async with talking(max_queued_s=10.0, when_full="raise") as (client, _):
        await client.send_audio_buffer(SECOND * 13)
        with pytest.raises(AudioConnectorFullError, match=r"^12\.7 s of audio wait to be sent, 10 are allowed"):
            await client.send_audio_buffer(SECOND)
        await client.send_audio_buffer(SECOND, flush_buffer=True)
        await client.drain()
        assert client.heard_s == pytest.approx(1.0, abs=1e-9)


@on_virtual_clock
async def test_a_call_that_lasts_too_long_is_closed() -> None:
    async with talking(max_duration_s=90.0, silence="frames") as (client, call):
        async for _ in client:
            pass
        assert call.now_s == pytest.approx(90.0, abs=0.001)
        ended = await call.wait_ended()

    assert ended is not None
    assert (ended.code, ended.reason, ended.by) == (1000, "max_duration_s", "server")
    assert client.close_report is not None
    assert client.close_report.reason == "max_duration_s"


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
@on_virtual_clock
async def test_waiting_for_audio_that_waits_for_the_format(rate_hz: int) -> None:
    waited_s: list[float] = []

    async def on_connect(client: Client) -> None:
        started_s = anyio.current_time()
        playback = await client.send_audio_buffer(b"\1\1" * rate_hz)
        assert (await playback.wait()).heard_s == 1.0
        waited_s.append(anyio.current_time() - started_s)

    async with session(on_connect, rate_hz=rate_hz, first_s=0.5) as call:
        await call.wait(2)

    assert waited_s == [pytest.approx(1.5, abs=0.01)]


@on_virtual_clock
async def test_a_wait_that_was_cancelled_changes_nothing_for_the_next() -> None:
    async with talking() as (client, _):
        playback = await client.send_audio_buffer(SECOND)
        with anyio.move_on_after(0.3):
            await playback.wait(confirm=True)
        started_s = anyio.current_time()
        assert (await playback.wait(confirm=True)).evidence == "notify"
        assert anyio.current_time() - started_s == pytest.approx(0.7, abs=0.03)


@on_virtual_clock
async def test_a_program_that_has_fallen_silent_keeps_no_audio() -> None:
    async with talking(silence="frames") as (client, _):
        await client.send_audio_buffer(SECOND * 3, pad_last_frame=True)
        await anyio.sleep(2)
        assert client._call.session.out._history
        await client.drain()
        await anyio.sleep(0.1)
        assert not client._call.session.out._history
