"""What an agent of LiveKit's says: its segments, as LiveKit counts them, and what was heard of each."""

from __future__ import annotations

import random
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from livekit import rtc
from livekit.agents.types import NOT_GIVEN, TimedString
from livekit.agents.voice import io

from vonage_audio_connector_server import AudioConnector, AudioConnectorConfigError, Client
from vonage_audio_connector_server.audio import peak_dbfs, resample
from vonage_audio_connector_server.integrations.livekit import VonageAudioOutput, VonageTextOutput
from vonage_audio_connector_server.testing import TestCall, assert_same_speech, on_virtual_clock, recording, session

SENTENCE = "He was not an ill disposed young man."
PCM = recording("librivox-2", 16_000)[2 * 1_600 :]  # it begins with sound
PROGRESSES = hasattr(io.AudioOutput, "on_playback_progressed")

on_asyncio = on_virtual_clock(backends=("asyncio",))


class Player:
    """An output, and all that it tells."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.output = VonageAudioOutput(client)
        self.text = VonageTextOutput(self.output)
        self.started: list[io.PlaybackStartedEvent] = []
        self.finished: list[io.PlaybackFinishedEvent] = []
        self.runs: list[Any] = []
        self.output.on("playback_started", self.started.append)
        self.output.on("playback_finished", self.finished.append)
        if PROGRESSES:
            self.output.on("playback_progressed", self.runs.append)

    async def say(self, pcm: bytes, rate_hz: int = 16_000, channels: int = 1, text: str = "") -> None:
        """A segment, as quickly as LiveKit brings it."""
        if text:
            await self.text.capture_text(text)
            self.text.flush()
        await self.capture(pcm, rate_hz, channels)
        self.output.flush()

    async def capture(self, pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> None:
        step = rate_hz // 20 * 2 * channels
        for at in range(0, len(pcm), step):
            await self.output.capture_frame(frame(pcm[at : at + step], rate_hz, channels))

    @property
    def positions(self) -> list[tuple[float, bool]]:
        return [(round(event.playback_position, 2), event.interrupted) for event in self.finished]


def frame(pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm, rate_hz, channels, len(pcm) // 2 // channels)


async def talking(talk: Callable[[Player, TestCall], Awaitable[None]], **settings: Any) -> TestCall:
    """A call in which a player talks; it ends when that has."""
    calls: list[TestCall] = []
    over = anyio.Event()
    given = {name: settings.pop(name) for name in ("max_queued_s", "sample_rate_hz") if name in settings}

    async def on_connect(client: Client) -> None:
        try:
            await client.wait_format()
            await talk(Player(client), calls[0])
        finally:
            over.set()

    async with session(AudioConnector(on_connect, **given), **settings) as call:
        calls.append(call)
        await over.wait()
    return calls[0]


def heard_s(call: TestCall) -> float:
    """How much the caller has heard, pauses in it included."""
    call.play()
    sound = bytes(call.twin.router.heard).rstrip(b"\0").lstrip(b"\0")
    return len(sound) / 2 / call.twin.audio_format.rate_hz


@pytest.mark.parametrize("wire_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize(("rate_hz", "channels"), [(24_000, 1), (22_050, 2), (16_000, 1)])
@on_asyncio
async def test_a_segment_is_heard_and_finished_once(wire_hz: int, rate_hz: int, channels: int) -> None:
    mono = resample(PCM, 16_000, rate_hz)
    pcm = b"".join(mono[at : at + 2] * channels for at in range(0, len(mono), 2))
    end_s: list[float] = []

    async def talk(player: Player, call: TestCall) -> None:
        await player.say(pcm, rate_hz, channels)
        event = await player.output.wait_for_playout()
        assert not event.interrupted
        assert event.playback_position == pytest.approx(len(PCM) / 32_000, abs=0.002)
        assert len(player.started) == len(player.finished) == 1
        end_s.append(call.now_s)

    call = await talking(talk, rate_hz=wire_hz)
    call.assert_no_gap(over_ms=20)
    assert_same_speech(resample(PCM, 16_000, wire_hz), call.heard)
    assert end_s[0] == pytest.approx(call.twin.loud[-1][1] * 0.02, abs=0.35)  # the recording ends in 0.3 s of silence


@on_asyncio
async def test_the_rate_of_the_frames_may_change_within_a_segment() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.capture(resample(PCM[:32_000], 16_000, 24_000), 24_000)
        await player.capture(PCM[32_000:64_000])
        await player.capture(resample(PCM[64_000:], 16_000, 48_000), 48_000)
        player.output.flush()
        await player.output.wait_for_playout()
        assert player.positions == [(round(len(PCM) / 32_000, 2), False)]

    call = await talking(talk)
    call.assert_no_gap(over_ms=0)
    assert_same_speech(PCM, call.heard)
    assert heard_s(call) == pytest.approx(len(PCM.strip(b"\0")) / 32_000, abs=0.03)


@on_asyncio
async def test_segments_in_a_row_are_finished_one_by_one_when_they_were_heard() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        for _ in range(3):
            await player.say(PCM[:32_000])
        assert player.positions == []
        await anyio.sleep(1.5)
        assert player.positions == [(1.0, False)]
        await player.output.wait_for_playout()
        assert player.positions == [(1.0, False)] * 3
        assert len(player.started) == 3

    call = await talking(talk)
    call.assert_no_gap(over_ms=20)
    assert heard_s(call) == pytest.approx(3.0, abs=0.04)


@on_asyncio
async def test_clear_buffer_is_silent_at_once_and_tells_what_was_heard() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.say(PCM)
        await anyio.sleep(1.23)
        player.output.clear_buffer()
        event = await player.output.wait_for_playout()
        assert event.interrupted
        assert event.playback_position == pytest.approx(heard_s(call), abs=0.04)
        position_s = event.playback_position
        await anyio.sleep(1)
        assert position_s == pytest.approx(heard_s(call), abs=0.04)  # and nothing since
        player.output.clear_buffer()
        await anyio.sleep(0.1)
        assert len(player.finished) == len(player.started) == 1
        await player.say(PCM[:16_000])
        assert (await player.output.wait_for_playout()).interrupted is False

    await talking(talk)


@on_asyncio
async def test_of_many_interruptions_each_tells_what_was_heard_and_nothing_old_is_heard_after_it() -> None:
    moments, whole = random.Random(1), 3 * 16_000

    async def talk(player: Player, call: TestCall) -> None:
        for number in range(1, 41):
            level = 500 * number  # tells which one it is
            pcm = array("h", [level]).tobytes() * whole
            await player.say(pcm, text="One two three.")
            await anyio.sleep(moments.uniform(0.0, 1.5))
            player.output.clear_buffer()
            event = await player.output.wait_for_playout()
            assert event.interrupted
            assert len(player.finished) == number
            await anyio.sleep(moments.choice([0.0, 0.3]))
            told.append((level, event.playback_position))

    told: list[tuple[int, float]] = []
    call = await talking(talk)
    heard = array("h", call.heard)
    for level, position_s in told:
        assert position_s == pytest.approx(heard.count(level) / 16_000, abs=0.04)
    assert [level for level in dict.fromkeys(heard) if level] == [level for level, _ in told if level in heard]


@on_asyncio
async def test_clear_buffer_finishes_each_segment_that_waits_exactly_once() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        for _ in range(4):
            await player.say(PCM[:32_000])
        await player.capture(PCM[:16_000])  # is not complete
        await anyio.sleep(1.5)
        player.output.clear_buffer()
        player.output.clear_buffer()
        await anyio.sleep(0.1)
        assert len(call.events) == 2  # both forms of the clear command, once: none took the place of another
        await player.output.capture_frame(frame(PCM[:3_200]))  # belongs to what was cleared: never heard
        await player.output.wait_for_playout()
        assert player.positions == [(1.0, False), (0.5, True), (0.0, True), (0.0, True), (0.0, True)]
        assert len(player.started) == 2
        player.output.flush()
        await player.say(PCM[:32_000])
        await player.output.wait_for_playout()
        assert player.positions[5:] == [(1.0, False)]

    call = await talking(talk)
    assert heard_s(call) == pytest.approx(2.6, abs=0.08)


@on_asyncio
async def test_pause_is_silent_and_resume_goes_on() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.say(PCM)
        await anyio.sleep(1)
        player.output.pause()
        await anyio.sleep(2)
        assert player.finished == []
        call.play()
        assert peak_dbfs(bytes(call.twin.router.heard)[-48_000:]) < -90
        player.output.resume()
        await player.output.wait_for_playout()
        assert player.positions == [(round(len(PCM) / 32_000, 2), False)]
        assert len(player.started) == 1

    call = await talking(talk)
    assert heard_s(call) == pytest.approx(2 + len(PCM) / 32_000, abs=0.06)


@on_asyncio
async def test_cleared_in_a_pause_it_stays_paused_until_resume() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.say(PCM)
        await anyio.sleep(1)
        player.output.pause()
        await anyio.sleep(0.5)
        player.output.clear_buffer()
        await player.output.wait_for_playout()
        assert player.positions == [(1.0, True)]
        await player.say(PCM[:32_000])
        await anyio.sleep(2)
        assert len(player.started) == 1
        player.output.resume()
        await player.output.wait_for_playout()
        assert player.positions == [(1.0, True), (1.0, False)]

    assert heard_s(await talking(talk)) == pytest.approx(1 + 2.5 + 1, abs=0.08)


@pytest.mark.skipif(not PROGRESSES, reason="since LiveKit 1.8")
@on_asyncio
async def test_it_tells_of_each_stretch_that_was_heard() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.capture(PCM[:32_000])
        await anyio.sleep(2)  # the synthesis is late: it runs dry
        await player.capture(PCM[32_000:64_000])
        await anyio.sleep(0.5)
        player.output.pause()
        await anyio.sleep(1)
        player.output.resume()
        await anyio.sleep(0.25)
        player.output.flush()
        player.output.clear_buffer()
        await player.output.wait_for_playout()
        runs = [(round(run.offset, 1), round(run.duration, 1)) for run in player.runs]
        assert runs == [(0.0, 1.0), (1.0, 0.5), (1.5, 0.2)]
        assert player.finished[0].playback_position == pytest.approx(player.runs[2].offset + player.runs[2].duration)
        assert player.runs[0].started_at == pytest.approx(player.started[0].created_at, abs=1.5)

    await talking(talk)


@pytest.mark.parametrize("way", ["hang up", "disconnect"])
@on_asyncio
async def test_with_the_call_all_segments_are_finished(way: str) -> None:
    async def talk(player: Player, call: TestCall) -> None:
        for _ in range(3):
            await player.say(PCM)
        await anyio.sleep(1)
        if way == "disconnect":
            await player.client.disconnect()
        else:
            call.hang_up()
        await player.output.wait_for_playout()
        assert [event.interrupted for event in player.finished] == [True] * 3
        assert player.positions[0][0] == pytest.approx(1.0, abs=0.04)
        await player.say(PCM)  # too late, and no error
        player.output.pause()
        player.output.clear_buffer()
        player.output.resume()
        assert (await player.output.wait_for_playout()).interrupted
        assert player.positions[3:] == [(0.0, True)]

    await talking(talk)


@on_asyncio
async def test_a_flush_of_the_programs_own_finishes_it_too() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.capture(PCM)
        await anyio.sleep(1)
        player.client.flush_buffer()
        await player.output.wait_for_playout()
        assert player.positions == [(1.0, True)]
        await player.capture(PCM)
        player.output.flush()
        await anyio.sleep(1)
        assert player.positions == [(1.0, True)]

    await talking(talk)


@on_asyncio
async def test_capture_frame_waits_while_too_much_waits_to_be_heard() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        began_s = call.now_s
        await player.capture(PCM * 2)
        assert call.now_s - began_s == pytest.approx(len(PCM) / 16_000 - 1, abs=0.4)
        player.output.flush()
        await player.output.wait_for_playout()

    (await talking(talk, max_queued_s=1)).assert_no_gap(over_ms=20)


# What was said


@pytest.mark.parametrize(("after_s", "words"), [(0.05, ""), (1.3, "He was not an ill"), (9.0, SENTENCE)])
@on_asyncio
async def test_the_transcript_is_what_was_heard(after_s: float, words: str) -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.say(PCM, text=SENTENCE)
        await anyio.sleep(after_s)
        player.output.clear_buffer()
        await player.output.wait_for_playout()
        assert player.finished[0].synchronized_transcript == words

    await talking(talk)


@on_asyncio
async def test_what_was_broken_off_with_its_synthesis_is_no_whole_sound() -> None:
    """A long text of which only the beginning was made: flushed and cleared in one go, as LiveKit does."""

    async def talk(player: Player, call: TestCall) -> None:
        await player.text.capture_text(SENTENCE + " " + SENTENCE * 9)
        await player.capture(PCM)
        await anyio.sleep(1.3)
        player.output.flush()
        player.output.clear_buffer()
        player.text.flush()
        await player.output.wait_for_playout()
        assert player.finished[0].synchronized_transcript == "He was not an ill"

    await talking(talk)


@on_asyncio
async def test_each_segment_has_its_own_text_whichever_comes_first() -> None:
    async def talk(player: Player, call: TestCall) -> None:
        await player.text.capture_text("Never spoken.")
        player.text.flush()
        await player.say(PCM[:16_000], text="One.")
        await player.output.wait_for_playout()
        await player.capture(PCM[:16_000])
        for text in ("Two ", "and a half."):
            await player.text.capture_text(text)
        player.text.flush()
        player.output.flush()
        await player.output.wait_for_playout()
        await player.say(PCM[:16_000])  # nobody knows the text
        await player.output.wait_for_playout()
        await player.say(PCM[:16_000], text="Four.")
        await player.output.wait_for_playout()
        await player.say(PCM[:16_000], text="Five.")
        await player.say(PCM[:16_000])  # in a row
        await player.output.wait_for_playout()
        told = [event.synchronized_transcript for event in player.finished]
        assert told == ["One.", "Two and a half.", None, "Four.", "Five.", None]

    await talking(talk)


@pytest.mark.parametrize(
    "texts",
    [
        [("One ", 0.0, 0.2), ("two ", 0.2, 0.4), ("three ", 0.4, 0.6), ("four", 2.0, 2.2)],  # words, with their times
        [("One two three. ", 0.0, None), ("Four.", 1.0, None)],  # sentences, and when they begin
        [("One two three.", 0.0, None), ("Four.", 1.0, None), (" Five.", None, None)],
    ],
)
@on_asyncio
async def test_the_times_of_the_texts_hold_where_they_are_told(
    texts: list[tuple[str, float | None, float | None]],
) -> None:
    async def talk(player: Player, call: TestCall) -> None:
        for text, begins_s, ends_s in texts:
            begin, end = (NOT_GIVEN if at_s is None else at_s for at_s in (begins_s, ends_s))
            await player.text.capture_text(TimedString(text, start_time=begin, end_time=end))
        player.text.flush()
        await player.say(PCM)
        await anyio.sleep(1)
        player.output.clear_buffer()
        await player.output.wait_for_playout()
        heard = player.finished[0].synchronized_transcript
        assert heard is not None
        assert heard.lower().rstrip(".") == "one two three"

    await talking(talk)


@on_asyncio
async def test_the_text_goes_on_to_the_next_in_the_chain() -> None:
    class Captions(io.TextOutput):
        def __init__(self) -> None:
            super().__init__(label="captions", next_in_chain=None)
            self.lines = [""]

        async def capture_text(self, text: str) -> None:
            self.lines[-1] += text

        def flush(self) -> None:
            self.lines.append("")

    async def talk(player: Player, call: TestCall) -> None:
        captions = Captions()
        text = VonageTextOutput(player.output, captions)
        await text.capture_text("One ")
        await text.capture_text("two.")
        text.flush()
        assert captions.lines == ["One two.", ""]

    await talking(talk)


@pytest.mark.anyio
async def test_it_is_made_in_the_calls_own_loop(anyio_backend_name: str) -> None:
    """And on asyncio: on trio there is no LiveKit."""
    said: list[str] = []

    async def on_connect(client: Client) -> None:
        def make() -> None:
            try:
                VonageAudioOutput(client)
                said.append("")
            except AudioConnectorConfigError as exc:
                said.append(str(exc))

        await anyio.to_thread.run_sync(make)
        make()

    async with session(AudioConnector(on_connect)) as call:
        await call.wait(0.2)
    assert "own event loop" in said[0]
    assert ("asyncio" in said[1]) == (anyio_backend_name == "trio")
