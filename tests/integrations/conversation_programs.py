"""The same program in each framework: it answers the n-th thing that the caller says with the n-th recording.

Ears and mouths are stand-ins, so that what differs is the framework alone. Each is a context in which it listens.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trustme
from example_programs import WORDS, load_example
from fastapi import FastAPI

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.speech import SpeechEnded
from vonage_audio_connector_server.testing import recording

ANSWERS = ("librivox-5", "librivox-1", "librivox-2", "go-forward-ten-meters")
LAST = len(ANSWERS) - 1
TEXTS = [WORDS.get(name, "go forward ten meters") for name in ANSWERS]
VOICE_HZ = 24_000


@dataclass
class Program:
    """A program, from outside.

    Attributes:
        address: where it listens.
        tls: for whoever calls it.
        texts: what it takes for heard of each of its answers.
    """

    address: str = ""
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    texts: list[str] = field(default_factory=list)

    def last_of(self, client: Client) -> Callable[[Any], None]:
        """Takes the transcripts; the last answer is the end."""

        def told(transcript: Any) -> None:
            self.texts.append(transcript.text)
            if len(self.texts) == len(ANSWERS):
                client.disconnect()

        return told


@asynccontextmanager
async def listening(program: Program, on_connect: Any) -> AsyncIterator[None]:
    """Serve it as people do: mounted in FastAPI, under TLS."""
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    authority.configure_trust(program.tls)
    app = FastAPI()
    app.mount("/vonage", AudioConnector(on_connect))
    config = AudioConnectorServerConfig(host="localhost", port=0, ssl=server_tls, app=app)
    async with await Video().start_audio_connector_server(config) as handle:
        program.address = f"wss://localhost:{handle.port}/vonage"
        yield


def sound_of(text: str) -> bytes:
    return recording(ANSWERS[TEXTS.index(text.strip())], VOICE_HZ)


@asynccontextmanager
async def plain(program: Program) -> AsyncIterator[None]:
    async def on_connect(client: Client) -> None:
        client.interrupt_on_speech()
        number = 0

        async def answer(number: int) -> None:
            async with client.utterance(sample_rate_hz=VOICE_HZ) as utterance:
                utterance.send(sound_of(TEXTS[number]), text=TEXTS[number])
            program.texts.append((await utterance.wait()).heard_text)
            if number == LAST:
                client.disconnect()

        async for turn in client.turns():
            if isinstance(turn, SpeechEnded):
                client.start_soon(answer, number)
                number += 1

    async with listening(program, on_connect):
        yield


@asynccontextmanager
async def pipecat(program: Program) -> AsyncIterator[None]:
    from pipecat.frames.frames import EndTaskFrame, Frame, TTSAudioRawFrame
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat_transport.bot import Run, Voice, of_ours, run_bot

    class Recordings(Voice):
        async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
            yield TTSAudioRawFrame(sound_of(text), VOICE_HZ, 1, context_id=context_id)
            if text.strip() == TEXTS[LAST]:  # the last answer is the end
                await self.push_frame(EndTaskFrame(), FrameDirection.UPSTREAM)

    run = Run(answers=list(TEXTS), voice=Recordings)

    async def on_connect(client: Client) -> None:
        await run_bot(of_ours(client), run)

    async with listening(program, on_connect):
        yield
    program.texts += run.remembered


@asynccontextmanager
async def livekit(program: Program) -> AsyncIterator[None]:
    from livekit.agents import Agent, AgentSession, ConversationItemAddedEvent, llm

    from vonage_audio_connector_server.integrations.livekit import attach

    parts = load_example("livekit_parts")
    left = iter(TEXTS)

    class Stream(parts.RuleStream):  # type: ignore[misc, name-defined]
        async def _run(self) -> None:
            self._send(llm.ChoiceDelta(role="assistant", content=next(left)))

    class Brain(parts.RuleLLM):  # type: ignore[misc, name-defined]
        def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = None, **options: Any) -> Any:
            return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    async def understand(pcm: bytes) -> str:
        return "a question"

    async def say(text: str) -> bytes:
        return sound_of(text)

    async def on_connect(client: Client) -> None:
        session: AgentSession[Any] = AgentSession(
            stt=parts.LocalSTT(understand),
            llm=Brain(),
            tts=parts.LocalTTS(say),
            turn_handling={
                "turn_detection": "vad",
                "endpointing": {"min_delay": 0.2},
                "interruption": {"min_duration": 0.1},
                "preemptive_generation": {"enabled": False},
            },
            aec_warmup_duration=None,
        )

        def added(event: ConversationItemAddedEvent) -> None:
            if isinstance(event.item, llm.ChatMessage) and event.item.role == "assistant":
                program.texts.append(event.item.text_content or "")
                if len(program.texts) == len(ANSWERS):
                    session.shutdown()

        session.on("conversation_item_added", added)
        attach(session, client)
        await session.start(Agent(instructions=""))

    async with listening(program, on_connect):
        yield


DETECTION = {"type": "server_vad", "silence_duration_ms": 700}


def _stand_in() -> Any:
    from realtime_stand_in import Answer, StandIn

    return StandIn(*(Answer(pcm=sound_of(text), text=text) for text in TEXTS))


@asynccontextmanager
async def openai(program: Program) -> AsyncIterator[None]:
    from vonage_audio_connector_server.integrations.openai_realtime import RealtimeCall

    async def on_connect(client: Client) -> None:
        session = {"audio": {"input": {"turn_detection": DETECTION}}}
        await RealtimeCall(client, _stand_in().connect, session=session, on_transcript=program.last_of(client)).run()

    async with listening(program, on_connect):
        yield


@asynccontextmanager
async def openai_agents(program: Program) -> AsyncIterator[None]:
    from agents.realtime import RealtimeAgent, RealtimeRunner
    from test_openai_agents import PipedModel

    from vonage_audio_connector_server.integrations.openai_agents import agent_session

    async def on_connect(client: Client) -> None:
        config: Any = {
            "api_key": "none",
            "initial_model_settings": {"tracing": None, "turn_detection": DETECTION},
        }
        async with _stand_in().piped() as pipe:
            runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=PipedModel(pipe))
            async with agent_session(
                client, runner, model_config=config, on_transcript=program.last_of(client)
            ) as session:
                async for _ in session:
                    pass

    async with listening(program, on_connect):
        yield
