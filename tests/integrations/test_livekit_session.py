"""Agents of LiveKit's in calls: its own session, voice detector and turns, in real time. The models are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from example_programs import load_example, until
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIError, ChatMessage, CloseEvent, llm
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer

from vonage_audio_connector_server import DTMF, AudioConnector, Client, Event
from vonage_audio_connector_server.audio import resample
from vonage_audio_connector_server.integrations.livekit import VonageAudioOutput, attach
from vonage_audio_connector_server.testing import TestCall, assert_same_speech, recording, session

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]

parts = load_example("livekit_parts")

ANSWER = recording("librivox-2", 16_000)[3_200:-9_600]
QUESTION, SAID = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 22_400], "Had he married?"  # 0.9 s of speech
ANSWER_TEXT = "He was not an ill disposed young man."


class Stage:
    """The models of an agent, and the one agent session that they serve."""

    def __init__(self) -> None:
        self.said = SAID  # what the recogniser makes of whatever it hears
        self.answers = [ANSWER_TEXT]
        self.session: AgentSession[Any] | None = None
        self.closed: list[CloseEvent] = []
        self.heard_turns: list[float] = []  # their lengths in seconds
        self.finished: list[Any] = []
        self.clients: list[Client] = []

    async def text_of(self, pcm: bytes) -> str:
        self.heard_turns.append(len(pcm) / 32_000)
        return self.said

    async def say(self, text: str) -> bytes:
        return resample(ANSWER, 16_000, 24_000)

    async def on_connect(self, client: Client) -> None:
        self.clients.append(client)
        self.session = session = self.make_session()
        attach(session, client)
        await session.start(Agent(instructions=""))

    def make_session(self) -> AgentSession[Any]:
        stage = self

        class Stream(parts.RuleStream):  # type: ignore[misc, name-defined]
            async def _run(self) -> None:
                self._send(llm.ChoiceDelta(role="assistant", content=stage.answers[0]))

        class Brain(parts.RuleLLM):  # type: ignore[misc, name-defined]
            def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = None, **options: Any) -> Any:
                return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

        made: AgentSession[Any] = AgentSession(
            stt=parts.LocalSTT(self.text_of),
            llm=Brain(),
            tts=parts.LocalTTS(self.say),
            turn_handling={
                "turn_detection": "vad",
                "endpointing": {"min_delay": 0.2},
                "interruption": {"min_duration": 0.1, "false_interruption_timeout": 0.7},
            },
            aec_warmup_duration=None,
            session_close_transcript_timeout=0.2,
        )
        made.on("close", self.closed.append)
        return made

    @property
    def history(self) -> list[tuple[str, str, bool]]:
        assert self.session is not None
        items = [item for item in self.session.history.items if isinstance(item, ChatMessage)]
        return [(item.role, item.text_content or "", item.interrupted) for item in items]


@asynccontextmanager
async def talking(stage: Stage, **settings: Any) -> AsyncIterator[TestCall]:
    before = asyncio.all_tasks()
    async with session(AudioConnector(stage.on_connect), **settings) as call:
        await until(lambda: stage.session is not None and stage.session.agent_state == "listening")
        assert stage.session is not None
        assert stage.session.output.audio is not None
        stage.session.output.audio.on("playback_finished", stage.finished.append)
        yield call
    await until(lambda: len(stage.closed) == 1)
    await until(lambda: asyncio.all_tasks() <= before)  # nothing is left of either


@pytest.mark.slow
@pytest.mark.parametrize("wire_hz", [8_000, 24_000])  # the others are at 16,000
async def test_a_question_is_answered_without_a_gap(wire_hz: int) -> None:
    stage = Stage()
    async with talking(stage, rate_hz=wire_hz) as call:
        await call.say(resample(QUESTION, 16_000, wire_hz))
        await call.hears(resample(ANSWER, 16_000, wire_hz), within_s=2, quiet_s=0.8)
        call.assert_no_gap(over_ms=20)
        await until(lambda: len(stage.history) == 2)
    assert stage.history == [("user", SAID, False), ("assistant", ANSWER_TEXT, False)]
    assert [event.interrupted for event in stage.finished] == [False]


@pytest.mark.slow
async def test_interrupted_it_is_silent_and_remembers_what_was_heard() -> None:
    stage = Stage()
    async with talking(stage) as call:
        await call.say(QUESTION)
        began_s = await call.speaks(within_s=3)
        await anyio.sleep(began_s + 1.2 - call.now_s)
        interruption = call.interrupt()
        await interruption
        stage.answers = [""]
        await until(lambda: len(stage.finished) == 1)
        await anyio.sleep(0.3)
        call.assert_silent_within(ms=300, of=interruption)
        heard_s = len(call.heard.strip(b"\0")) / 32_000
        await until(lambda: len(stage.history) >= 2)
    assert stage.finished[0].interrupted
    assert stage.finished[0].playback_position == pytest.approx(heard_s, abs=0.04)
    role, text, interrupted = stage.history[1]
    assert (role, interrupted) == ("assistant", True)
    assert ANSWER_TEXT.startswith(text)
    assert 0 < len(text) < len(ANSWER_TEXT)
    assert len(text) / len(ANSWER_TEXT) == pytest.approx(heard_s / (len(ANSWER) / 32_000), abs=0.15)


@pytest.mark.slow
async def test_a_false_interruption_pauses_and_it_goes_on() -> None:
    """Somebody makes a sound of which the recogniser makes no word."""
    stage = Stage()
    async with talking(stage) as call:
        await call.say(QUESTION)
        began_s = await call.speaks(within_s=3)
        stage.said = ""
        await anyio.sleep(began_s + 0.8 - call.now_s)
        await call.interrupt()
        await until(lambda: len(stage.finished) == 1)
        heard = call.heard_between(began_s, call.now_s)
        await until(lambda: len(stage.history) == 2)
    assert not stage.finished[0].interrupted
    assert stage.history[1] == ("assistant", ANSWER_TEXT, False)
    silence_s = len(heard) / 32_000 - len(ANSWER) / 32_000
    assert silence_s > 0.5  # it was silent meanwhile
    assert stage.finished[0].playback_position == pytest.approx(len(ANSWER) / 32_000, abs=0.03)  # LiveKit adds a little


@pytest.mark.slow
async def test_a_turn_ends_with_a_mute_after_which_no_frames_come() -> None:
    stage = Stage()
    async with talking(stage) as call:
        await call.say(QUESTION)
        call.mute()
        await call.hears(ANSWER, within_s=3, quiet_s=0.8)
    assert 0.9 < stage.heard_turns[0] < 2.0


async def test_the_call_ends_and_so_does_the_session() -> None:
    stage = Stage()
    async with talking(stage) as call:
        assert stage.session is not None
        stage.session.say(ANSWER_TEXT)
        await call.speaks(within_s=2)
        call.hang_up()
        await until(lambda: len(stage.closed) == 1)
    assert (stage.closed[0].error, stage.closed[0].reason.value) == (None, "user_initiated")


async def test_the_session_ends_and_so_does_the_call_when_all_was_heard() -> None:
    stage = Stage()
    async with talking(stage) as call:
        assert stage.session is not None
        stage.session.say(ANSWER_TEXT)
        stage.session.shutdown()
        ended = await call.wait_ended(within_s=6)
        assert ended is not None
        assert ended.code == 1000
        assert_same_speech(ANSWER, call.heard)


async def test_what_the_program_says_itself_is_heard_before_the_call_is_closed() -> None:
    stage = Stage()
    async with talking(stage) as call:
        assert stage.session is not None
        assert stage.session.output.audio is not None
        stage.session.output.audio.pause()
        stage.clients[0].send_audio_buffer(ANSWER[:32_000])
        await stage.session.aclose()
        await call.wait_ended(within_s=3)
        assert_same_speech(ANSWER[:32_000], call.heard)


async def test_a_session_that_fails_closes_the_call_with_1011() -> None:
    stage = Stage()

    async def fail(text: str) -> bytes:
        raise APIError("no voice", retryable=False)

    stage.say = fail  # type: ignore[method-assign]
    async with talking(stage) as call:
        assert stage.session is not None
        for _ in range(4):  # LiveKit bears three
            stage.session.say(ANSWER_TEXT)
        ended = await call.wait_ended(within_s=20)
        assert ended is not None
        assert ended.code == 1011


@pytest.mark.parametrize("when", ["before the start", "in the start"])
async def test_a_call_that_ends_too_early_leaves_no_session(when: str) -> None:
    stage = Stage()
    before = asyncio.all_tasks()
    calls: list[TestCall] = []
    is_attached = anyio.Event()

    class Slow(Agent):
        async def on_enter(self) -> None:
            if when == "in the start":
                calls[0].hang_up()
                await anyio.sleep(0.2)

    async def on_connect(client: Client) -> None:
        stage.session = stage.make_session()
        attach(stage.session, client)
        is_attached.set()
        if when == "before the start":
            await client.wait_closed()
            await anyio.sleep(0.1)
        await stage.session.start(Slow(instructions=""))

    async with session(AudioConnector(on_connect)) as call:
        calls.append(call)
        await is_attached.wait()
        if when == "before the start":
            call.hang_up()
        await call.wait_ended()
    await until(lambda: len(stage.closed) == 1)
    await until(lambda: asyncio.all_tasks() <= before)


async def test_livekits_own_synchronizer_takes_our_output(caplog: pytest.LogCaptureFixture) -> None:
    """For captions that grow with the sound. It stands between the session and the output."""
    finished: list[Any] = []

    async def on_connect(client: Client) -> None:
        synchronizer = TranscriptSynchronizer(next_in_chain_audio=VonageAudioOutput(client), next_in_chain_text=None)
        audio, text = synchronizer.audio_output, synchronizer.text_output
        audio.on("playback_finished", finished.append)
        for interrupts in (True, False):
            await text.capture_text(ANSWER_TEXT)
            text.flush()
            pcm = ANSWER if interrupts else ANSWER[:16_000]
            await audio.capture_frame(rtc.AudioFrame(pcm, 16_000, 1, len(pcm) // 2))
            audio.flush()
            if interrupts:
                await anyio.sleep(1.2)
                audio.clear_buffer()
            await audio.wait_for_playout()
        await synchronizer.aclose()
        await client.disconnect()

    async with session(AudioConnector(on_connect)) as call:
        await call.wait_ended(within_s=5)
    assert [event.interrupted for event in finished] == [True, False]
    assert finished[0].playback_position == pytest.approx(1.2, abs=0.2)
    assert ANSWER_TEXT.startswith(finished[0].synchronized_transcript.strip())
    assert finished[1].synchronized_transcript == ANSWER_TEXT
    assert [record.message for record in caplog.records if record.name == "livekit.agents"] == []


@pytest.mark.slow
async def test_the_pages_key_press_and_captions() -> None:
    """Handlers are the program's beside the agent, and so is what gets the text."""
    stage, lines = Stage(), [""]

    class Captions(io.TextOutput):
        async def capture_text(self, text: str) -> None:
            lines[-1] += text

        def flush(self) -> None:
            lines.append("")

    async def on_connect(client: Client) -> None:
        stage.session = made = stage.make_session()
        captions = Captions(label="captions", next_in_chain=None)
        attach(made, client)
        assert made.output.audio is not None
        synchronizer = TranscriptSynchronizer(next_in_chain_audio=made.output.audio, next_in_chain_text=captions)
        made.output.audio, made.output.transcription = synchronizer.audio_output, synchronizer.text_output

        def on_event(event: Event) -> None:
            if isinstance(event, DTMF):
                made.generate_reply(user_input=f"I have pressed {event.digit}.")

        client.set_handler(on_event=on_event)
        await made.start(Agent(instructions=""))

    async with session(AudioConnector(on_connect)) as call:
        await until(lambda: stage.session is not None and stage.session.agent_state == "listening")
        call.press("5")
        await call.hears(ANSWER, within_s=2, quiet_s=0.8)
        await until(lambda: len(stage.history) == 2)
    assert stage.history == [("user", "I have pressed 5.", False), ("assistant", ANSWER_TEXT, False)]
    await until(lambda: len(stage.closed) == 1)
    assert lines[0] == ANSWER_TEXT
