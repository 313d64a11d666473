"""What an agent of LiveKit's hears: the caller's frames, at one rate, and silence where none come."""

from __future__ import annotations

import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from example_programs import served, until
from livekit import rtc

from vonage_audio_connector_server import DTMF, AudioConnector, Client
from vonage_audio_connector_server.audio import level_dbfs
from vonage_audio_connector_server.integrations.livekit import VonageAudioInput
from vonage_audio_connector_server.testing import (
    Faults,
    TestCall,
    assert_same_speech,
    on_virtual_clock,
    recording,
    session,
)

PCM = recording("go-forward-ten-meters", 16_000)

on_asyncio = on_virtual_clock(backends=("asyncio",))


class Ear:
    """An input, and the frames that it has given."""

    def __init__(self, client: Client, rate_hz: int | None) -> None:
        self.input = VonageAudioInput(client, sample_rate_hz=rate_hz)
        self.frames: list[rtc.AudioFrame] = []
        self.has_ended = False

    async def listen(self) -> None:
        async for frame in self.input:
            self.frames.append(frame)
        self.has_ended = True

    @property
    def pcm(self) -> bytes:
        return b"".join(bytes(frame.data) for frame in self.frames)

    @property
    def duration_s(self) -> float:
        return sum(frame.duration for frame in self.frames)


Talk = Callable[[TestCall, Ear], Awaitable[None]]


async def heard(talk: Talk, *, ear_hz: int | None = None, **settings: Any) -> Ear:
    """What an input gives of a call in which the caller does something."""
    ears: list[Ear] = []
    is_there = anyio.Event()

    async def on_connect(client: Client) -> None:
        ears.append(Ear(client, ear_hz))
        ears[0].input.on_attached()
        is_there.set()
        await ears[0].listen()

    async with session(AudioConnector(on_connect), **settings) as call:
        await is_there.wait()
        await talk(call, ears[0])
    return ears[0]


@pytest.mark.parametrize("wire_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("rate_hz", [None, 16_000, 24_000])
@on_asyncio
async def test_it_gives_what_was_said_at_one_rate_and_ends_with_the_call(wire_hz: int, rate_hz: int | None) -> None:
    question = recording("go-forward-ten-meters", wire_hz)

    async def talk(call: TestCall, ear: Ear) -> None:
        await call.say(question)

    ear = await heard(talk, ear_hz=rate_hz, rate_hz=wire_hz)
    assert {frame.sample_rate for frame in ear.frames} == {rate_hz or wire_hz}
    assert {frame.num_channels for frame in ear.frames} == {1}
    assert ear.has_ended
    assert_same_speech(recording("go-forward-ten-meters", rate_hz or wire_hz), ear.pcm)


@pytest.mark.parametrize("way", ["mute", "no frames", "mute with frames"])
@on_asyncio
async def test_silence_stands_for_what_does_not_come(way: str) -> None:
    """As much time goes by in the frames as on the clock."""
    told: list[float] = []

    async def talk(call: TestCall, ear: Ear) -> None:
        await call.say(PCM)
        if way != "no frames":
            call.mute(frames=way == "mute with frames")
        said_s, before_s = call.now_s, ear.duration_s
        await anyio.sleep(1.0)
        told.append(ear.duration_s - before_s)
        assert call.now_s - said_s == pytest.approx(1.0, abs=0.01)
        await anyio.sleep(1.0)
        told.append(ear.duration_s - before_s)
        if way != "no frames":
            call.unmute()
        await call.say(PCM)

    ear = await heard(talk, silence="none" if way == "no frames" else "frames")
    assert told == [pytest.approx(1.0, abs=0.06), pytest.approx(2.0, abs=0.06)]
    between = ear.pcm[len(PCM) + 16_000 : len(PCM) + 48_000]
    assert level_dbfs(between) < -90
    assert ear.duration_s == pytest.approx(2 + 2 * len(PCM) / 32_000, abs=0.3)  # the call begins with a wait


@on_asyncio
async def test_detached_it_keeps_nothing_and_attached_it_goes_on() -> None:
    async def talk(call: TestCall, ear: Ear) -> None:
        await anyio.sleep(1)
        ear.input.on_detached()
        count = len(ear.frames)
        await call.say(PCM)
        assert len(ear.frames) == count
        ear.input.on_attached()
        await call.say(PCM[:32_000])
        assert sum(frame.duration for frame in ear.frames[count:]) == pytest.approx(1.0, abs=0.05)

    await heard(talk)


@on_asyncio
async def test_what_nobody_takes_is_bounded_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    ears: list[Ear] = []

    async def on_connect(client: Client) -> None:
        ears.append(Ear(client, None))
        ears[0].input.on_attached()
        await anyio.sleep(30)
        with anyio.move_on_after(0.01):
            await ears[0].listen()
        assert ears[0].duration_s == pytest.approx(10.0, abs=0.03)

    async with session(AudioConnector(on_connect)) as call:
        await anyio.sleep(31)
        assert call.ended is None
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        " no agent session takes its audio: the oldest is dropped"
    ]


@on_asyncio
async def test_handlers_and_events_of_the_client_are_free_for_keys() -> None:
    pressed: list[str] = []

    async def on_connect(client: Client) -> None:
        ear = Ear(client, None)
        ear.input.on_attached()
        client.start_soon(ear.listen)
        pressed.extend([event.digit async for event in client.events() if isinstance(event, DTMF)])

    async with session(AudioConnector(on_connect)) as call:
        await call.say(PCM[:16_000])
        call.press("5#")
        await call.wait(0.2)
    assert pressed == ["5", "#"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_a_blocked_event_loop_is_no_silence() -> None:
    """What came meanwhile is read first. The caller is in another thread, and speaks on."""
    ears: list[Ear] = []

    async def on_connect(client: Client) -> None:
        ears.append(Ear(client, None))
        ears[0].input.on_attached()
        # Out of the reading of a socket: uvloop looks at its timers before the next one.
        client.set_handler(on_event=lambda event: time.sleep(0.5) if isinstance(event, DTMF) else None)
        await ears[0].listen()

    async def call_it(address: str) -> None:
        async with session(address) as call:
            saying = call.say(b"\x10\x27" * 20_800)
            await call.wait(0.5)
            call.press("5")
            await saying

    async with served(AudioConnector(on_connect)) as address:
        await anyio.to_thread.run_sync(anyio.run, call_it, address)
        await until(lambda: ears[0].has_ended)
    samples = array("h", ears[0].pcm)
    said = samples[samples.index(10_000) :]
    assert said.count(10_000) == 20_800
    assert 0 not in said[:20_800]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("stalled_s", [0.15, 0.6])
async def test_a_network_that_stalls_takes_nothing_away_and_a_short_one_parts_no_word(stalled_s: float) -> None:
    ears: list[Ear] = []

    async def on_connect(client: Client) -> None:
        ears.append(Ear(client, None))
        ears[0].input.on_attached()
        await ears[0].listen()

    loud = b"\x10\x27" * 19_200
    async with served(AudioConnector(on_connect)) as address:
        async with session(address, faults=Faults()) as call:
            saying = call.say(loud)
            await call.wait(0.3)
            call.disturb(Faults(stalls=[(0.0, stalled_s)]))
            await saying
            await call.wait(0.3)
    samples = array("h", ears[0].pcm)
    assert samples.count(10_000) == 19_200
    first = samples.index(10_000)
    last = len(samples) - 1 - samples[::-1].index(10_000)
    stood_in_s = (last - first + 1 - 19_200) / 16_000
    assert stood_in_s == (0 if stalled_s < 0.2 else pytest.approx(stalled_s, abs=0.1))
