"""A pipecat bot on a Vonage call, with local services and no key: it hears, answers by rule, and speaks.

    python examples/pipecat_bot.py        # serves ws://localhost:8765/vonage

With CONNECT_SECRET, and the public address in WS_URI, `POST /connect` lets it join a live session.

It needs the extras `demo`, `examples` and `pipecat`. Its services are pipecat's interfaces around the recogniser and
the voice of `speech_models.py`: put in their places those that you have.
"""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import BaseTransport
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner
from speech_models import EARS_HZ, VOICE_HZ, Voice, shared_recogniser

from vonage_audio_connector_server import AudioConnector, SharedSecret, WebSocketProtocol
from vonage_audio_connector_server.integrations.pipecat import VonageAudioConnectorTransport

GREETING = "Hello. What can I do for you?"
LATENCY_S = 1.0  # of the recogniser, for a sentence


@cache
def voice() -> Voice:
    return Voice()


class Ears(SegmentedSTTService):
    """Whisper: what was said between two pauses."""

    def __init__(self) -> None:
        super().__init__(settings=STTSettings(model="tiny.en", language=None), ttfs_p99_latency=LATENCY_S)

    @property
    def wants_wav_segments(self) -> bool:
        return False

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        if text := await shared_recogniser().text_of(audio):
            print("caller:", text, flush=True)
            yield TranscriptionFrame(text, "caller", time_now_iso8601())


class Answers(FrameProcessor):
    """In the place of a language model: rules."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        said = str(frame.context.get_messages()[-1]["content"])
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame(self.answer(said)))
        await self.push_frame(LLMFullResponseEndFrame())
        if re.search(r"\b(good)?bye\b", said, re.IGNORECASE):
            await self.pipeline_worker.queue_frame(EndFrame())  # behind the goodbye, which is heard first

    def answer(self, said: str) -> str:
        if found := re.search(r"go (forward|back\w*) (.+?)[.!?]?$", said, re.IGNORECASE):
            return f"All right. I go {found[1].lower()} {found[2]}."
        if re.search(r"\b(good)?bye\b", said, re.IGNORECASE):
            return "Goodbye. Have a nice day."
        return f"You said: {said} I only know a few words. Ask me to go forward, or say goodbye, and I will see."


class Mouth(TTSService):
    """Hibari: sentence by sentence."""

    def __init__(self) -> None:
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(push_start_frame=True, push_stop_frames=True, stop_frame_timeout_s=1.0, settings=settings)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        yield TTSAudioRawFrame(await voice().say(text), VOICE_HZ, 1, context_id=context_id)


async def run_bot(transport: BaseTransport) -> None:
    """The bot. It knows nothing of Vonage."""
    # Loading their models takes 0.1 s: a thread does it, so that other calls have no gap.
    turns = LLMUserAggregatorParams(
        vad_analyzer=await anyio.to_thread.run_sync(SileroVADAnalyzer),
        user_turn_strategies=await anyio.to_thread.run_sync(UserTurnStrategies),
    )
    aggregators = LLMContextAggregatorPair(LLMContext(), user_params=turns)
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                Ears(),
                aggregators.user(),
                Answers(),
                Mouth(),
                transport.output(),
                aggregators.assistant(),
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=EARS_HZ, audio_out_sample_rate=VOICE_HZ),
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await worker.queue_frame(TTSSpeakFrame(GREETING))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    @aggregators.assistant().event_handler("on_assistant_turn_stopped")
    async def on_assistant_turn_stopped(aggregator, message):
        print("bot:", message.content, "-" if message.interrupted else "", flush=True)  # what was heard

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


@asynccontextmanager
async def lifespan(app: FastAPI):
    await anyio.to_thread.run_sync(shared_recogniser)
    await voice().say(GREETING)  # the models are there before the first caller
    async with connector.lifespan(app):
        yield


connector = AudioConnector()
app = FastAPI(lifespan=lifespan)
if "CONNECT_SECRET" in os.environ:  # POST /connect lets the bot join a live session; it takes the extra `vonage`
    guard = SharedSecret(os.environ["CONNECT_SECRET"], header="authorization")
    app.router.routes.append(connector.connect_route(uri=os.environ["WS_URI"], authorize=guard))


@app.websocket("/vonage")
async def vonage(websocket: WebSocket):
    async with connector.connect(websocket) as client:
        await run_bot(VonageAudioConnectorTransport(client))


if __name__ == "__main__":
    uvicorn.run(app, host="localhost", port=int(os.environ.get("PORT", "8765")), ws=WebSocketProtocol)
