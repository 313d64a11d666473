"""Which frames of pipecat a call becomes, and which frames become of a call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames import frames as of
from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from vonage_audio_connector_server import AudioConnectorConfigError, Client
from vonage_audio_connector_server.integrations.pipecat import (
    VonageAudioConnectorParams,
    VonageAudioConnectorTransport,
)
from vonage_audio_connector_server.testing import TestCall, assert_same_speech, session, tone

from .bot import run_worker, word_pcm, worker_of

pytestmark = [
    pytest.mark.anyio,
    # pipecat's own, and those of what it brings.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"),
]

HZ = 24_000


class Seen(FrameProcessor):  # type: ignore[misc,unused-ignore]
    """Passes all on, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._came = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self._came.set()
        await self.push_frame(frame, direction)

    def of(self, *kinds: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kinds)]

    async def until(self, kind: type, count: int = 1, within_s: float = 5.0) -> list[Any]:
        async with asyncio.timeout(within_s):
            while len(self.of(kind)) < count:
                self._came.clear()
                await self._came.wait()
        return self.of(kind)


@dataclass
class Line:
    """A call, and a pipeline of a transport alone, with what passes before and behind its output."""

    call: TestCall
    client: Client
    worker: Any
    transport: VonageAudioConnectorTransport
    into: Seen
    behind: Seen
    told: list[str] = field(default_factory=list)

    async def say(self, *frames: Frame) -> None:
        await self.into.push_frame(frames[0])
        for frame in frames[1:]:
            await self.into.push_frame(frame)


@asynccontextmanager
async def line(
    params: VonageAudioConnectorParams | None = None, *, in_hz: int = 16_000, ends: bool = True, **settings: Any
) -> AsyncIterator[Line]:
    ready: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
    holder: list[TestCall] = []

    async def on_connect(client: Client) -> None:
        transport = VonageAudioConnectorTransport(client, params)
        into, behind = Seen(), Seen()
        worker = worker_of([transport.input(), into, transport.output(), behind], in_hz, HZ)
        found = Line(holder[0], client, worker, transport, into, behind)
        for event in ("on_client_disconnected", "on_client_muted", "on_client_unmuted", "on_session_timeout"):
            transport.add_event_handler(event, telling(found, event))

        @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator,unused-ignore]
        async def connected(transport: Any, who: Client) -> None:
            assert who is client
            ready.set_result(found)

        await run_worker(worker)

    before = asyncio.all_tasks()
    async with session(on_connect, **settings) as call:
        holder.append(call)
        yield await asyncio.wait_for(ready, 3)
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not (left and ends)


def telling(found: Line, event: str) -> Callable[..., Any]:
    async def tell(transport: Any, client: Client) -> None:
        found.told.append(event)
        if event == "on_client_disconnected":
            await found.worker.cancel()

    return tell


def speech(words: int, kind: type = of.TTSAudioRawFrame) -> list[Any]:
    return [kind(word_pcm(HZ, number), HZ, 1) for number in range(words)]


def text(words: str) -> of.TTSTextFrame:
    return of.TTSTextFrame(words, "sentence")


async def test_keys_and_mutes_are_frames_and_events() -> None:
    async with line() as a:
        a.call.press("5#")
        keys = await a.into.until(of.InputDTMFFrame, 2)
        a.call.mute()
        await a.into.until(of.UserMuteStartedFrame)
        a.call.unmute()
        await a.into.until(of.UserMuteStoppedFrame)
    assert [key.button.value for key in keys] == ["5", "#"]
    assert a.told == ["on_client_muted", "on_client_unmuted", "on_client_disconnected"]


@pytest.mark.parametrize(("rate_hz", "in_hz"), [(8_000, 16_000), (16_000, 16_000), (24_000, 16_000), (16_000, 24_000)])
async def test_audio_has_the_rate_of_the_pipeline_and_of_the_call(rate_hz: int, in_hz: int) -> None:
    said = tone(0.6, rate_hz=rate_hz)
    async with line(in_hz=in_hz, rate_hz=rate_hz) as a:
        await a.call.say(said)
        await a.call.wait(0.1)
        frames = a.into.of(of.InputAudioRawFrame)
        await a.say(*speech(3), of.TTSStoppedFrame())
        await a.behind.until(of.TTSStoppedFrame)
        heard = await a.call.hears(within_s=0.1, quiet_s=0.05)
    assert {frame.sample_rate for frame in frames} == {in_hz}
    assert {frame.num_frames for frame in frames[5:-5]} <= set(range(in_hz // 25 - 32, in_hz // 25 + 33))
    assert_same_speech(b"".join(frame.audio for frame in frames), tone(0.6, rate_hz=in_hz), rate_hz=in_hz)
    assert_same_speech(heard.pcm, b"".join(word_pcm(rate_hz, number) for number in range(3))[: len(heard.pcm)])
    a.call.assert_no_gap()


@pytest.mark.parametrize("chunks", [2, 4, 10])
async def test_all_audio_comes_in_frames_of_the_wanted_length(chunks: int) -> None:
    said = tone(0.5)
    async with line(VonageAudioConnectorParams(audio_in_10ms_chunks=chunks), silence="none") as a:
        await a.call.say(said)
        await a.call.wait(0.15)
        audio = [frame.audio for frame in a.into.of(of.InputAudioRawFrame)]
    assert b"".join(audio) == said  # the rest, too, though nothing comes behind it
    assert {len(pcm) for pcm in audio[:-1]} == {320 * chunks}


async def test_frames_pass_behind_the_output_when_what_is_before_them_was_heard() -> None:
    async with line() as a:
        await a.say(
            of.TTSStartedFrame(), *speech(2), text("one two"), of.TTSStoppedFrame(), of.LLMFullResponseEndFrame()
        )
        began_s = await a.call.speaks(within_s=1)
        (started,) = await a.behind.until(of.BotStartedSpeakingFrame)
        await a.behind.until(of.LLMFullResponseEndFrame)
        assert a.call.now_s - began_s == pytest.approx(0.6, abs=0.06)
    kinds = [type(frame) for frame in a.behind.frames if not isinstance(frame, (of.InputAudioRawFrame, of.StartFrame))]
    order = [of.TTSStartedFrame, of.BotStartedSpeakingFrame, of.TTSTextFrame, of.BotStoppedSpeakingFrame]
    order += [of.TTSStoppedFrame, of.LLMFullResponseEndFrame]
    places = [kinds.index(kind) for kind in order]
    assert places == sorted(places)
    assert [frame.text for frame in a.behind.of(of.TTSTextFrame)] == ["one", "two"]
    passed = a.behind.of(of.TTSAudioRawFrame)
    assert b"".join(frame.audio for frame in passed) == b"".join(frame.audio for frame in speech(2))
    assert len(passed) >= 5  # as it is heard, not as it came
    assert a.into.of(of.BotStartedSpeakingFrame)
    assert a.into.of(of.BotStoppedSpeakingFrame)
    assert started.broadcast_sibling_id is not None


async def test_an_interruption_drops_all_and_tells_it() -> None:
    async with line() as a:
        await a.say(of.TTSStartedFrame(), *speech(9), text("1 2 3 4 5 6 7 8 9"), of.TTSStoppedFrame())
        await a.behind.until(of.TTSTextFrame, 2)
        await a.into.push_frame(of.InterruptionFrame())
        flushed_s = a.call.now_s
        await a.behind.until(of.BotStoppedSpeakingFrame)
        await a.call.wait(0.4)
        assert [event.text for event in a.call.events] == ['{"event":"websocket:cleared"}', '{"action":"clear"}']
        assert not any(a.call.heard_between(flushed_s + 0.06, a.call.now_s))
        heard = b"".join(frame.audio for frame in a.behind.of(of.TTSAudioRawFrame))
        assert a.client.heard_s == pytest.approx(len(heard) / 2 / HZ, abs=0.03)
        assert [frame.text for frame in a.behind.of(of.TTSTextFrame)] == ["1", "2"]
        assert not a.behind.of(of.TTSStoppedFrame)
        # What comes behind it is heard, and starts at once.
        await a.say(of.TTSStartedFrame(), *speech(1), text("again"), of.TTSStoppedFrame())
        await a.behind.until(of.TTSStoppedFrame)
        assert a.behind.of(of.TTSTextFrame)[-1].text == "again"
    assert len(a.behind.of(of.BotStartedSpeakingFrame)) == 2


async def test_what_may_not_be_interrupted_is_heard_to_its_end() -> None:
    kept, dropped = speech(2), speech(3)
    for frame in kept:
        if hasattr(frame, "interruptible"):
            frame.interruptible = False
        else:
            frame.__class__ = type("Kept", (type(frame), of.UninterruptibleFrame), {})
    async with line() as a:
        await a.say(*dropped, *kept, of.TTSStoppedFrame())
        began_s = await a.call.speaks(within_s=1)
        await a.call.wait(0.2)
        await a.into.push_frame(of.InterruptionFrame())
        heard = await a.call.hears(within_s=1)
        assert heard.end_s - began_s == pytest.approx(0.2 + 0.6, abs=0.15)


async def test_a_flush_of_the_program_itself_is_an_interruption_for_what_stands_behind() -> None:
    async with line() as a:
        await a.say(of.TTSStartedFrame(), *speech(9), text("1 2 3 4 5 6 7 8 9"))
        await a.behind.until(of.TTSTextFrame, 2)
        a.client.flush_buffer()
        await a.behind.until(of.BotStoppedSpeakingFrame, within_s=0.5)
    assert [frame.text for frame in a.behind.of(of.TTSTextFrame)] == ["1", "2"]


async def test_a_text_ahead_of_its_sound_is_passed_on_with_it() -> None:
    async with line() as a:
        await a.say(of.TTSStartedFrame(), text("one two three"), *speech(3), of.TTSStoppedFrame())
        await a.behind.until(of.TTSTextFrame)
        assert a.client.heard_s < 0.3
        await a.behind.until(of.TTSStoppedFrame)
    assert [frame.text for frame in a.behind.of(of.TTSTextFrame)] == ["one", "two", "three"]


async def test_messages_are_sent_in_their_turn_and_urgent_ones_at_once() -> None:
    async with line() as a:
        later, now = of.OutputTransportMessageFrame({"n": 2}), of.OutputTransportMessageUrgentFrame({"n": 1})
        own = of.OutputTransportMessageUrgentFrame({"label": "rtvi-ai", "type": "bot-ready"})
        await a.say(*speech(2), later, now, own)
        await a.behind.until(of.OutputTransportMessageFrame)
        await a.call.wait(0.05)
        first, second = a.call.events
        assert (first.data, second.data) == ({"n": 1}, {"n": 2})
        assert second.at_s - first.at_s == pytest.approx(0.6, abs=0.1)


async def test_behind_a_stop_frame_the_call_is_open_until_the_program_ends_it() -> None:
    async with line(ends=False) as a:  # pipecat's processors go on: another pipeline may take them
        await a.say(*speech(1))
        await a.worker.queue_frame(of.StopFrame())
        await a.behind.until(of.StopFrame)
        assert a.client.heard_s == pytest.approx(0.3, abs=0.03)


async def test_a_session_timeout_is_told() -> None:
    async with line(VonageAudioConnectorParams(session_timeout=0.2)) as a:
        await a.call.wait(0.4)
        assert a.told == ["on_session_timeout"]


async def test_stereo_is_mixed_down_and_half_a_sample_is_an_error_that_ends_nothing() -> None:
    async with line() as a:
        mono = word_pcm(HZ, 0)
        stereo = b"".join(2 * mono[place : place + 2] for place in range(0, len(mono), 2))
        await a.say(of.OutputAudioRawFrame(b"abc", HZ, 1), of.OutputAudioRawFrame(stereo, HZ, 2))
        heard = await a.call.hears(within_s=1)
        assert heard.end_s - heard.start_s == pytest.approx(0.25, abs=0.05)


class Music(BaseAudioMixer):  # type: ignore[misc,unused-ignore]
    async def start(self, sample_rate: int) -> None: ...
    async def stop(self) -> None: ...
    async def process_frame(self, frame: Any) -> None: ...
    async def mix(self, audio: bytes) -> bytes:
        return audio


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"audio_out_destinations": ["music"]}, "audio_out_destinations"),
        ({"audio_out_channels": 2}, "audio_out_channels"),
        ({"audio_out_mixer": Music()}, "audio_out_mixer"),
    ],
)
async def test_what_it_can_not_do_it_says_at_once(settings: dict[str, Any], named: str) -> None:
    async def on_connect(client: Client) -> None:
        with pytest.raises(AudioConnectorConfigError, match=named):
            VonageAudioConnectorTransport(client, VonageAudioConnectorParams(**settings))

    async with session(on_connect) as call:
        await call.wait(0.05)


def test_without_the_extra_it_is_one_sentence() -> None:
    code = (
        "import sys; sys.modules['pipecat'] = None\n"
        "try:\n    import vonage_audio_connector_server.integrations.pipecat\n"
        "except ImportError as exc:\n    print(type(exc).__name__, exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == (
        "MissingExtraError the transport for pipecat needs the extra 'pipecat': "
        "pip install 'vonage-audio-connector-server[pipecat]'"
    )


def test_the_package_does_not_import_it() -> None:
    code = "import sys, vonage_audio_connector_server as v; v.AudioConnector; print('pipecat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
