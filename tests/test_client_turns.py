"""The turns of a call, on real speech; and falling silent when somebody speaks."""

from __future__ import annotations

import random
from array import array
from collections.abc import Awaitable, Callable

import anyio
import pytest
from test_playback import talking

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    Client,
    Video,
)
from vonage_audio_connector_server.speech import SpeechEnded, SpeechStarted, Turn, VoiceActivityName
from vonage_audio_connector_server.testing import TestCall, assert_same_speech, on_virtual_clock, recording, session

Spans = list[tuple[float, float]]


def spans(turns: list[Turn]) -> Spans:
    return [(turn.start_s, turn.end_s) for turn in turns if isinstance(turn, SpeechEnded)]


def assert_near(one: Spans, other: Spans, within_s: float = 0.04) -> None:
    assert len(one) == len(other)
    for (start_s, end_s), (other_start_s, other_end_s) in zip(one, other, strict=True):
        assert abs(start_s - other_start_s) <= within_s + 1e-6
        assert abs(end_s - other_end_s) <= within_s + 1e-6


Talk = Callable[[TestCall], Awaitable[None]]


async def turns_of(talk: Talk, rate_hz: int = 16_000, silence: str = "frames", **settings: object) -> list[Turn]:
    """What a program takes of a call."""
    turns: list[Turn] = []

    async def on_connect(client: Client) -> None:
        async for turn in client.turns(**settings):  # type: ignore[arg-type]  # of the test's own
            turns.append(turn)  # noqa: PERF401 (as they come)

    async with session(AudioConnector(on_connect), rate_hz=rate_hz, silence=silence) as call:
        await talk(call)
    return turns


async def silence_follows(call: TestCall) -> None:
    await anyio.sleep(2)


async def a_mute_with_its_event(call: TestCall) -> None:
    call.mute()
    await anyio.sleep(2)


async def a_hang_up(call: TestCall) -> None:
    call.hang_up()


ENDINGS: list[tuple[Talk, str]] = [
    (silence_follows, "frames"),
    (silence_follows, "none"),  # a mute without its event
    (a_mute_with_its_event, "frames"),
    (a_hang_up, "frames"),
]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("detector", ["webrtc", "silero", "energy"])
@on_virtual_clock(backends=("asyncio",))
async def test_the_turns_are_the_same_however_the_speech_ends(rate_hz: int, detector: VoiceActivityName) -> None:
    found: list[Spans] = []
    for ending, silence in ENDINGS:

        async def talk(call: TestCall, ending: Talk = ending) -> None:
            await call.say(recording("go-forward-ten-meters", rate_hz))
            await anyio.sleep(1.5)
            speech = recording("librivox-2", rate_hz)[: 2 * round(2.1 * rate_hz)]  # which ends within a word
            await call.say(speech)
            await ending(call)

        turns = await turns_of(talk, rate_hz, silence, detector=detector)
        assert [type(turn) for turn in turns] == [SpeechStarted, SpeechEnded] * 2
        found.append(spans(turns))
        pcm = [turn.pcm for turn in turns if isinstance(turn, SpeechEnded)]
        assert_same_speech(pcm[0], recording("go-forward-ten-meters", rate_hz), rate_hz=rate_hz)
    for other in found[1:]:
        assert_near(found[0], other)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_the_rate_makes_no_difference(rate_hz: int) -> None:
    async def talk(call: TestCall) -> None:
        await call.say(recording("librivox-4", rate_hz))
        await anyio.sleep(1)

    turns = await turns_of(talk, rate_hz, sample_rate_hz=16_000)
    (started, ended) = turns
    assert isinstance(ended, SpeechEnded)
    assert started.start_s == ended.start_s == pytest.approx(0.45, abs=0.25)
    assert ended.sample_rate_hz == 16_000
    assert len(ended.pcm) / 32_000 == pytest.approx(ended.end_s - ended.start_s + 0.5, abs=0.31)
    assert_same_speech(ended.pcm, recording("librivox-4", 16_000))


@pytest.mark.parametrize("detector", ["webrtc", "silero", "energy"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock(backends=("asyncio",))
async def test_a_minute_of_room_noise_makes_no_turn(rate_hz: int, detector: VoiceActivityName) -> None:
    dice = random.Random(rate_hz)
    level = 32_768 * 10 ** (-50 / 20)
    second = [array("h", [round(dice.gauss(0, level)) for _ in range(rate_hz)]).tobytes() for _ in range(5)]

    async def talk(call: TestCall) -> None:
        await call.say(b"".join(second * 12))

    assert await turns_of(talk, rate_hz, detector=detector) == []


@on_virtual_clock
async def test_it_listens_beside_a_handler_and_from_the_call_of_it_on() -> None:
    frames: list[bytes | str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=frames.append)
        turns = client.turns()
        await anyio.sleep(5)
        taken = [await anext(turns), await anext(turns)]
        assert [type(turn) for turn in taken] == [SpeechStarted, SpeechEnded]
        with anyio.move_on_after(1) as waiting:
            await anext(turns)
        assert waiting.cancelled_caught
        turns.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(turns)
        with pytest.raises(StopAsyncIteration):
            await anext(turns)

    async with session(AudioConnector(on_connect), silence="frames") as call:
        await call.say(recording("librivox-2", 16_000))
        await anyio.sleep(8)
    assert len(frames) > 500


@on_virtual_clock
async def test_who_only_takes_turns_is_told_of_no_lost_messages(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(call: TestCall) -> None:
        await call.say(bytes(60 * 32_000))

    assert await turns_of(talk) == []
    assert "dropped" not in caplog.text.replace("s dropped;", "")


@on_virtual_clock
async def test_a_model_tells_the_end() -> None:
    asked: list[float] = []

    async def is_end(pause: SpeechEnded) -> bool:
        asked.append(pause.end_s)
        await anyio.sleep(0.05)
        return len(asked) == 2

    async def talk(call: TestCall) -> None:
        for _ in range(2):
            await call.say(recording("go-forward-ten-meters", 16_000))
            await anyio.sleep(0.3)
        await anyio.sleep(2)

    turns = await turns_of(talk, hang_over_s=0.25, end_of_turn=is_end, patience_s=4.0)
    assert [type(turn) for turn in turns] == [SpeechStarted, SpeechEnded]
    assert len(asked) >= 2
    assert spans(turns)[0][1] == asked[-1] or len(asked) == 2


@on_virtual_clock
async def test_a_detector_that_fails_is_told_where_the_turns_are_taken() -> None:
    class Broken:
        def is_speech(self, frame: bytes, rate_hz: int) -> bool:
            raise ZeroDivisionError("no voice")

    async def on_connect(client: Client) -> None:
        with pytest.raises(ZeroDivisionError, match="no voice"):
            await anext(client.turns(Broken()))
        client.interrupt_on_speech(Broken())

    async with session(AudioConnector(on_connect), silence="frames"):
        await anyio.sleep(1)


@on_virtual_clock
async def test_speech_interrupts_what_is_said_and_coughs_do_not() -> None:
    interrupted: list[float] = []
    async with talking(silence="frames") as (client, call):
        client.interrupt_on_speech(on_interrupt=lambda: interrupted.append(anyio.current_time()))
        utterance = client.utterance()
        utterance.send(recording("librivox-1", 16_000))
        utterance.end()
        await anyio.sleep(1)
        await call.say(recording("librivox-2", 16_000)[32_000 : 32_000 + 2_560])  # 80 ms
        quiet = array("h", recording("librivox-2", 16_000))
        await call.say(array("h", [sample // 16 for sample in quiet]).tobytes())  # what comes back of a loudspeaker
        assert not utterance.interrupted
        saying = call.interrupt()
        await saying
        await anyio.sleep(1)
        call.assert_silent_within(ms=300, of=saying)
        assert utterance.interrupted
        assert len(interrupted) == 1
        await call.say(recording("librivox-2", 16_000))  # nobody is interrupted
        await anyio.sleep(1)
        assert len(interrupted) == 1
        client.send_audio_buffer(recording("librivox-1", 16_000))
        await call.say(recording("librivox-2", 16_000))
        assert len(interrupted) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # of our server
async def test_over_a_real_socket_the_callback_runs_too() -> None:
    told: list[str] = []

    async def on_interrupt() -> None:
        await anyio.sleep(0.01)
        told.append("interrupted")

    async def on_connect(client: Client) -> None:
        client.interrupt_on_speech(on_interrupt=on_interrupt)
        client.send_audio_buffer(recording("librivox-1", 16_000))
        await client.wait_closed()

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect)
    async with await Video().start_audio_connector_server(config) as handle:
        async with session(f"ws://127.0.0.1:{handle.port}/") as call:
            await anyio.sleep(0.5)
            interruption = call.interrupt()
            await interruption
            await anyio.sleep(0.5)
            call.assert_silent_within(ms=300, of=interruption)
    assert told == ["interrupted"]


@on_virtual_clock
async def test_interrupting_can_be_stopped() -> None:
    async with talking(silence="frames") as (client, call):
        interruption = client.interrupt_on_speech()
        playback = client.send_audio_buffer(recording("librivox-1", 16_000))
        interruption.stop()
        await call.say(recording("librivox-2", 16_000))
        assert not (await playback.wait()).interrupted
        assert interruption.count == 0


@on_virtual_clock
async def test_what_can_not_be_done_is_refused() -> None:
    async with talking() as (client, call):
        for wrong in ({"min_speech_s": 0.0}, {"detector": "ear"}, {"hang_over_s": 100.0}):
            with pytest.raises(AudioConnectorConfigError, match=next(iter(wrong))):
                client.turns(**wrong)  # that is the test
        with pytest.raises(AudioConnectorConfigError, match="on_interrupt"):
            client.interrupt_on_speech(on_interrupt=str.upper)  # type: ignore[arg-type]
        call.hang_up()
        await client.wait_closed()
        for act in (client.turns, client.interrupt_on_speech):
            with pytest.raises(AudioConnectorClosedError):
                act()


def test_from_another_thread() -> None:
    import anyio.to_thread

    async def on_connect(client: Client) -> None:
        async def elsewhere() -> list[Turn]:
            return [turn async for turn in client.turns()]

        turns = await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere))
        assert [type(turn) for turn in turns] == [SpeechStarted, SpeechEnded]

    async def talk() -> None:
        async with session(AudioConnector(on_connect), silence="frames") as call:
            await call.say(recording("go-forward-ten-meters", 16_000))

    anyio.run(talk)
