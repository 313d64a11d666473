"""Virtual time: what takes some, what takes none, and who waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from bots import greeting, silent

from vonage_audio_connector_server import Client, PlaybackResult
from vonage_audio_connector_server.errors import AudioConnectorConfigError
from vonage_audio_connector_server.runtime import has_loop, on_trio
from vonage_audio_connector_server.testing import (
    VIRTUAL_ASYNCIO,
    VIRTUAL_TRIO,
    StuckError,
    on_virtual_clock,
    run,
    session,
    tone,
)
from vonage_audio_connector_server.testing.clock import BEGIN_S

THREAD_S = 0.15


async def sleep(seconds: float) -> None:
    """As the programs of this event loop do."""
    if on_trio():
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


@pytest.fixture
async def begin_s() -> AsyncIterator[float]:
    began_s = anyio.current_time()
    await anyio.sleep(3600)
    yield began_s
    await anyio.sleep(3600)


@on_virtual_clock
async def test_sleeping_takes_no_time_in_the_test_and_in_its_fixtures(begin_s: float) -> None:
    real_s = time.monotonic()
    assert begin_s == BEGIN_S
    await anyio.sleep(1000)
    await sleep(600)

    assert anyio.current_time() - begin_s == pytest.approx(3600 + 1600)
    assert time.monotonic() - real_s < 1


@on_virtual_clock
async def test_timers_come_in_their_order_whatever_made_them() -> None:
    order: list[str] = []

    async def on_connect(client: Client) -> None:
        for number in range(3):
            await (anyio.sleep(0.5) if number % 2 else sleep(0.5))
            order.append(f"program {number}")

    async with session(on_connect) as call:
        for number in range(3):
            await call.wait(0.4)
            order.append(f"test {number}")
            await anyio.sleep(0.05)
        with anyio.move_on_after(1) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert call.now_s == pytest.approx(3 * 0.45 + 1)

    assert order == ["test 0", "program 0", "test 1", "program 1", "test 2", "program 2"]


@on_virtual_clock
async def test_what_a_thread_does_takes_no_virtual_time() -> None:
    seen: list[tuple[str, float]] = []

    async def on_connect(client: Client) -> None:
        begun_s = anyio.current_time()
        await anyio.to_thread.run_sync(time.sleep, THREAD_S)
        seen.append(("anyio", anyio.current_time() - begun_s))
        await (trio.to_thread.run_sync(time.sleep, THREAD_S) if on_trio() else asyncio.to_thread(time.sleep, THREAD_S))
        seen.append(("its own", anyio.current_time() - begun_s))
        await client.send_json_packet({"done": True})

    async with session(on_connect) as call:
        real_s = time.monotonic()
        await call.wait(0.5)
        assert time.monotonic() - real_s > 2 * THREAD_S * 0.9

    assert seen == [("anyio", 0.0), ("its own", 0.0)]
    assert [event.data for event in call.events] == [{"done": True}]


@on_virtual_clock
async def test_a_thread_that_speaks_into_the_call() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()

        def speak() -> None:
            time.sleep(THREAD_S)
            client.send_audio_buffer(tone(0.5), pad_last_frame=True)

        await anyio.to_thread.run_sync(speak)

    async with session(on_connect) as call:
        heard = await call.hears(tone(0.5), within_s=1)
    assert heard.start_s < 0.2


@on_virtual_clock
async def test_waiting_until_it_was_heard() -> None:
    told: list[Any] = []

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        playback = await client.send_audio_buffer(tone(2.0), pad_last_frame=True)
        told.append(await playback.wait())
        await client.notify("mark")
        await client.send_audio_buffer(tone(3.0), pad_last_frame=True)
        began_s = anyio.current_time()
        await client.drain()
        told.append(anyio.current_time() - began_s)
        playback = await client.send_audio_buffer(tone(5.0), pad_last_frame=True)
        told.append(await playback.wait())

    async with session(on_connect) as call:
        await call.wait(7)
        await call.wait(0.1)
        call.hang_up()
        await call.wait_ended()
        await anyio.sleep(0.1)

    first, drained_s, last = told
    assert isinstance(first, PlaybackResult)
    assert first.heard_s == pytest.approx(2.0)
    assert not first.interrupted
    assert drained_s == pytest.approx(3.0, abs=0.05)
    assert last.interrupted
    assert last.heard_s == pytest.approx(2.0, abs=0.1)


@on_virtual_clock
async def test_back_pressure_in_virtual_time() -> None:
    """A queue of 2 minutes is full: the program waits until there is room again."""
    waited_s: list[float] = []

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        began_s = anyio.current_time()
        await client.send_audio_buffer(bytes(32_000 * 121))
        waited_s.append(anyio.current_time() - began_s)

    async with session(on_connect) as call:
        await call.wait(10)

    assert waited_s == [pytest.approx(1.0, abs=0.4)]


# Who waits for ever


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("silence", ["frames", "none"])
def test_who_waits_for_what_never_comes_is_told_where(backend: Any, silence: Any) -> None:
    """With frames of silence there is always something due: then the time of the test ends. Without, nothing is."""

    async def waits() -> None:
        async with session(silent, silence=silence) as call:
            await call.wait(0.5)
            await anyio.Event().wait()  # for ever

    real_s = time.monotonic()
    with pytest.raises(StuckError) as stuck:
        run(waits, backend=backend, limit_s=60)

    assert time.monotonic() - real_s < 10
    why = {"frames": "60 s of virtual time", "none": "nothing is ever going to happen"}[silence]
    assert f"{why}: it waits at {__file__}:" in str(stuck.value)
    assert str(stuck.value).endswith("in waits: await anyio.Event().wait()  # for ever")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_of_ones_own_may_bring_something(backend: Any) -> None:
    async def waits() -> str:
        brought: list[str] = []
        come = anyio.Event()

        def set_it() -> None:
            brought.append("it")
            come.set()

        post = (
            trio.lowlevel.current_trio_token().run_sync_soon
            if on_trio()
            else asyncio.get_running_loop().call_soon_threadsafe
        )
        timer = threading.Timer(0.4, post, (set_it,))
        timer.start()
        await come.wait()
        timer.join()
        return brought[0]

    assert run(waits, backend=backend) == "it"
    assert not has_loop()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_socket_may_bring_something(backend: Any) -> None:
    """Where somebody waits for a socket, the clock waits, too."""

    async def waits() -> bytes:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):

            async def answer(stream: anyio.abc.SocketStream) -> None:
                async with stream:
                    await stream.send(b"hello")

            tasks.start_soon(listener.serve, answer)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                data = await stream.receive()
            tasks.cancel_scope.cancel()
        return data

    assert run(waits, backend=backend) == b"hello"


@on_virtual_clock(backends=("trio",), limit_s=7200)
async def test_a_test_chooses_its_backends_and_its_time() -> None:
    assert on_trio()
    await anyio.sleep(7000)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_ASYNCIO, VIRTUAL_TRIO], ids=["asyncio", "trio"])
@pytest.mark.anyio
async def test_the_backends_as_anyio_takes_them(anyio_backend: Any) -> None:
    async with session(greeting()) as call:
        await call.hears(within_s=1)
    assert anyio.current_time() > BEGIN_S


@pytest.mark.anyio
async def test_without_a_virtual_clock_its_mark_says_what_to_do(anyio_backend: str) -> None:
    """As under a pytest plugin that takes every coroutine for its own."""

    @on_virtual_clock
    async def test_it() -> None:
        pytest.fail("it runs in real time")

    with pytest.raises(AudioConnectorConfigError, match="asyncio_mode = auto: set it to strict"):
        await test_it()


def test_run_returns_and_raises_what_the_function_does() -> None:
    async def returns(one: int, two: int) -> int:
        await anyio.sleep(100)
        return one + two

    async def raises() -> None:
        raise LookupError("on purpose")

    assert run(returns, 1, 2) == run(returns, 1, 2, backend="trio") == 3
    with pytest.raises(LookupError, match="on purpose"):
        run(raises)
    with pytest.raises(LookupError, match="on purpose"):
        run(raises, backend="trio")
