"""What a test says and hears in a call on the virtual clock, on asyncio and on trio."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from bots import answering, echo, greeting, listening, silent

from vonage_audio_connector_server import (
    DTMF,
    AudioConnector,
    Client,
    Connected,
    Disconnected,
    JSONTransport,
    MediaUpdate,
    Notified,
)
from vonage_audio_connector_server.testing import (
    NothingHeardError,
    assert_same_speech,
    on_virtual_clock,
    recording,
    session,
    tone,
)

QUESTION = recording("librivox-2", 16_000)
ANSWER = recording("librivox-5", 16_000)
OTHER = recording("librivox-1", 16_000)
SPEECH = Path(__file__).parents[2] / "examples" / "audio" / "librivox-2.wav"


@on_virtual_clock
async def test_a_greeting_is_heard_where_it_is() -> None:
    async with session(greeting(1.0)) as call:
        heard = await call.hears(tone(1.0), within_s=1)

    assert heard.start_s == pytest.approx(0.06, abs=0.0201)
    assert heard.end_s - heard.start_s == pytest.approx(1.0)
    assert heard.is_over
    assert heard.pcm == tone(1.0)


@on_virtual_clock
async def test_a_question_is_answered_and_the_answer_is_the_right_one() -> None:
    async with session(answering(ANSWER)) as call:
        said = await call.say(QUESTION)
        heard = await call.hears(ANSWER, within_s=1)

        assert_same_speech(heard, ANSWER)
        assert said.end_s is not None
        assert heard.start_s == pytest.approx(said.end_s + 0.22, abs=0.1)
        await call.say(SPEECH)  # a file, and another turn
        again = await call.hears(ANSWER, within_s=1)
        assert again.start_s > heard.end_s
        call.assert_no_gap(over_ms=0)

    assert_same_speech(call.heard, ANSWER)
    assert call.twin.lateness_s == pytest.approx(0, abs=1e-6)


@on_virtual_clock
async def test_a_wrong_answer_is_told() -> None:
    async with session(answering(OTHER)) as call:
        await call.say(QUESTION)
        with pytest.raises(AssertionError, match="not the same speech: the similarity is 0"):
            await call.hears(ANSWER, within_s=1)

    with pytest.raises(AssertionError, match="not the same speech"):
        assert_same_speech(call.heard, ANSWER)
    assert_same_speech(QUESTION, SPEECH)


@on_virtual_clock
async def test_who_hears_nothing_waits_no_longer_than_that() -> None:
    async with session(silent) as call:
        said = await call.say(tone(0.5))
        with pytest.raises(NothingHeardError, match="nothing was heard within 3 s"):
            await call.hears(within_s=3)

        assert said.end_s is not None
        assert call.now_s == pytest.approx(said.end_s + 3, abs=0.001)


@on_virtual_clock
async def test_an_interruption_is_obeyed_or_not() -> None:
    async with session(answering(ANSWER * 2)) as call:
        await call.say(QUESTION)
        start_s = await call.speaks(within_s=1)
        await call.wait(1)
        interruption = await call.interrupt()
        call.assert_silent_within(ms=100, of=interruption)
        with pytest.raises(AssertionError, match=r"the program was heard for \d+ ms more, 20 are allowed"):
            call.assert_silent_within(ms=20, of=interruption)

    assert interruption.start_s == pytest.approx(start_s + 1, abs=0.021)
    clears_s = [event.at_s for event in call.events]  # two for the question, two for the interruption
    assert [at_s - (interruption.start_s or 0) for at_s in clears_s[2:]] == pytest.approx([0.04, 0.04], abs=0.001)

    async with session(answering(ANSWER, falls_silent=False)) as call:
        await call.say(QUESTION)
        await call.speaks(within_s=1)
        interruption = await call.interrupt()
        await call.wait(2)
        with pytest.raises(AssertionError, match="the program was heard for"):
            call.assert_silent_within(ms=250, of=interruption)


@on_virtual_clock
async def test_an_interruption_that_has_not_begun_is_told() -> None:
    async with session(silent) as call:
        interruption = call.interrupt()  # before the first message, so its first frame is not out yet
        with pytest.raises(AssertionError, match="await it first"):
            call.assert_silent_within(ms=250, of=interruption)


async def starving(client: Client) -> None:
    """Says 1 s in two parts, with 0.5 s more between them than the first one lasts."""
    import anyio

    rate_hz = (await client.wait_format()).rate_hz
    await client.send_audio_buffer(tone(0.5, rate_hz), pad_last_frame=True)
    await anyio.sleep(0.75)
    await client.send_audio_buffer(tone(0.5, rate_hz), pad_last_frame=True)


@on_virtual_clock
async def test_a_program_that_starves_has_a_gap() -> None:
    async with session(starving) as call:
        await call.hears(within_s=1)
        with pytest.raises(AssertionError, match=r"1 gaps are longer than 20 ms: 260 ms at 0\.\d\d s"):
            call.assert_no_gap(over_ms=20)
        call.assert_no_gap(over_ms=260)


@pytest.mark.parametrize("frames", [False, True])
@on_virtual_clock
async def test_who_is_muted_is_not_heard(frames: bool) -> None:
    seen: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_audio=seen.append, on_event=seen.append)

    async with session(on_connect) as call:
        await call.wait(0.5)
        call.mute(frames=frames)
        await call.wait(0.1)
        before = len(seen)
        await call.say(tone(1.0))
        muted = [frame for frame in seen[before:] if isinstance(frame, bytes)]
        assert len(muted) == (pytest.approx(51, abs=2) if frames else 0)
        assert not any(map(any, muted))
        call.unmute()
        await call.say(tone(0.2))

    assert [event.active for event in seen if isinstance(event, MediaUpdate)] == [False, True]
    loud = [frame for frame in seen if isinstance(frame, bytes) and any(frame)]
    assert b"".join(loud) == tone(0.2)


@on_virtual_clock
async def test_keys_and_texts_come_as_events() -> None:
    seen: list[Any] = []
    async with session(listening(seen), headers={"caller": "Ann"}) as call:
        await call.wait(0.1)
        call.press("5#")
        call.send({"my": 1})
        call.send(' {"my":2}')
        await call.wait(0.1)

    connected, five, hash_key, mine, text, goodbye = seen
    assert isinstance(connected, Connected)
    assert connected.custom == {"caller": "Ann"}
    assert (five.digit, hash_key.digit) == ("5", "#")
    assert isinstance(five, DTMF)
    assert (mine.data, text.data) == ({"my": 1}, {"my": 2})
    assert isinstance(goodbye, Disconnected)


@on_virtual_clock
async def test_what_the_program_sends_are_events_of_the_call() -> None:
    notified: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_event=lambda event: notified.append(event) if isinstance(event, Notified) else None)
        await client.wait_format()
        await client.send_json_packet({"hello": "world"})
        await client.send_audio_buffer(tone(0.5), pad_last_frame=True)
        await client.notify({"mark": 1})

    async with session(on_connect) as call:
        await call.wait(1)

    hello, notify = call.events
    assert hello.data == {"hello": "world"}
    assert hello.text == '{"hello":"world"}'
    assert hello.at_s == pytest.approx(0.05, abs=0.011)
    assert notify.data == {"action": "notify", "payload": {"mark": 1}}
    (answer,) = notified
    assert answer.payload == {"mark": 1}


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_each_rate(rate_hz: int) -> None:
    async with session(echo, rate_hz=rate_hz, router="strict") as call:
        await call.say(tone(1.0, rate_hz))
        await call.wait(0.5)

    assert_same_speech(call.heard, tone(1.0, rate_hz), at_least=0.99)
    assert len(call.heard) == pytest.approx(call.now_s * rate_hz * 2, abs=rate_hz * 0.05)


@on_virtual_clock
async def test_audio_in_json() -> None:
    transport = JSONTransport("audio")
    async with session(AudioConnector(echo, audio_transport=transport), transport=transport) as call:
        await call.say(QUESTION)
        await call.wait(0.5)

    assert call.twin.wrong_transport == 0
    assert_same_speech(call.heard, QUESTION)
    assert call.events == []  # frames in JSON are none


@pytest.mark.parametrize("silence", ["frames", "none"])
@on_virtual_clock
async def test_silence_is_frames_or_nothing(silence: Literal["frames", "none"]) -> None:
    frames: list[bytes] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_audio=frames.append)

    async with session(on_connect, silence=silence) as call:
        await call.wait(1)
        quiet = len(frames)
        await call.say(tone(0.2))

    assert quiet == (pytest.approx(48, abs=1) if silence == "frames" else 0)
    assert sum(map(any, frames)) == 10
