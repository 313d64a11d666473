"""A pipecat bot of the shape of Vonage's samples, with stand-ins for its services: the bot of the tests.

`run_bot` is the same for every transport; only `of_pipecat` and `of_ours`, which make one, differ. It runs on pipecat
1.0, too, whose workers were called tasks.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.audio import level_dbfs
from vonage_audio_connector_server.integrations.pipecat import (
    VonageAudioConnectorParams,
    VonageAudioConnectorTransport,
)

try:
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.workers.runner import WorkerRunner
except ImportError:
    from pipecat.pipeline.runner import PipelineRunner  # type: ignore[no-redef,unused-ignore]
    from pipecat.pipeline.task import PipelineParams, PipelineTask  # type: ignore[assignment,unused-ignore]

    PipelineWorker = PipelineTask  # type: ignore[misc,assignment,unused-ignore]
    WorkerRunner = None  # type: ignore[misc,assignment,unused-ignore]

WORD_S = 0.3
"""Each word of the bot is so long, and so loud that it can be counted in what was heard."""


def word_pcm(rate_hz: int, number: int) -> bytes:
    """A word: a tone, its own pitch for each, and a pause of a sixth."""
    samples = round(WORD_S * rate_hz)
    loud = samples * 5 // 6
    pitch_hz = 300 + 60 * (number % 10)
    wave = [round(8000 * math.sin(2 * math.pi * pitch_hz * n / rate_hz)) for n in range(loud)]
    return array("h", wave).tobytes() + bytes(2 * (samples - loud))


class Energy(VADAnalyzer):  # type: ignore[misc,unused-ignore]
    """What is loud is voice."""

    def num_frames_required(self) -> int:
        return self.sample_rate // 50

    def voice_confidence(self, buffer: bytes) -> float:
        return float(level_dbfs(buffer) > -40)


class Ears(SegmentedSTTService):  # type: ignore[misc,unused-ignore]
    """Understands that something was said."""

    def __init__(self) -> None:
        super().__init__(settings=STTSettings(model=None, language=None), ttfs_p99_latency=0.1)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield TranscriptionFrame("a question", "caller", "now")


class Brain(FrameProcessor):  # type: ignore[misc,unused-ignore]
    """Has its answers ready."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
        elif self.answers:
            await self.push_frame(LLMFullResponseStartFrame())
            for word in self.answers.pop(0).split(" "):
                await self.push_frame(LLMTextFrame(word + " "))
            await self.push_frame(LLMFullResponseEndFrame())


class Voice(TTSService):  # type: ignore[misc,unused-ignore]
    """Speaks in tones, quicker than real time; like many services it tells no times of words."""

    def __init__(self, **settings: Any) -> None:
        given = TTSSettings(model=None, voice=None, language=None)
        super().__init__(
            push_start_frame=True, push_stop_frames=True, stop_frame_timeout_s=0.5, settings=given, **settings
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        for number, _ in enumerate(text.split()):
            pcm = word_pcm(self.sample_rate, number)
            half = len(pcm) // 4 * 2
            for piece in (pcm[:half], pcm[half:]):
                yield TTSAudioRawFrame(piece, self.sample_rate, 1, context_id=context_id)


class TimedVoice(Voice):
    """Tells when each word is spoken, as Cartesia and ElevenLabs do."""

    def __init__(self) -> None:
        super().__init__(push_text_frames=False)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        times = [(word, number * WORD_S) for number, word in enumerate(text.split())]
        await self.add_word_timestamps(times, context_id)
        async for frame in super().run_tts(text, context_id):
            yield frame


@dataclass
class Run:
    """What a test wants of a bot.

    Attributes:
        answers: one for each turn of the caller.
        voice: makes the voice.
        began: called with the bot's worker when the caller is there.
        context: what the bot remembers.
        events: those that were told.
        worker: that of the bot.
    """

    answers: list[str] = field(default_factory=list)
    voice: Callable[[], TTSService] = Voice
    began: Callable[[Any], Any] | None = None
    context: LLMContext = field(default_factory=LLMContext)
    events: list[str] = field(default_factory=list)
    worker: Any = None

    @property
    def remembered(self) -> list[str]:
        """What the bot has said, as it remembers it."""
        messages: list[Any] = self.context.get_messages()
        return [message["content"] for message in messages if message["role"] == "assistant"]


def of_pipecat(websocket: Any) -> BaseTransport:
    """As in Vonage's sample."""
    return FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            add_wav_header=False,
            fixed_audio_packet_size=640,
            serializer=VonageFrameSerializer(),
        ),
    )


def of_ours(client: Client) -> BaseTransport:
    return VonageAudioConnectorTransport(client, VonageAudioConnectorParams())


async def run_bot(transport: BaseTransport, run: Run) -> None:
    """The bot itself: it knows no transport."""
    stop: Any = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.1)
    aggregators = LLMContextAggregatorPair(
        run.context,
        user_params=LLMUserAggregatorParams(
            vad_analyzer=Energy(params=VADParams(start_secs=0.1, stop_secs=0.2, min_volume=0.0)),
            user_turn_strategies=UserTurnStrategies(stop=[stop]),
        ),
    )
    processors = [
        transport.input(),
        Ears(),
        aggregators.user(),
        Brain(run.answers),
        run.voice(),
        transport.output(),
        aggregators.assistant(),
    ]
    run.worker = worker = worker_of(processors, 16_000, 24_000)

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator,unused-ignore]
    async def on_client_connected(transport: BaseTransport, client: Any) -> None:
        run.events.append("connected")
        if run.began is not None:
            await run.began(worker)

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator,unused-ignore]
    async def on_client_disconnected(transport: BaseTransport, client: Any) -> None:
        run.events.append("disconnected")
        await worker.cancel()

    await run_worker(worker)


def worker_of(processors: list[FrameProcessor], in_hz: int, out_hz: int) -> Any:
    params = PipelineParams(audio_in_sample_rate=in_hz, audio_out_sample_rate=out_hz)
    return PipelineWorker(Pipeline(processors), params=params)


async def run_worker(worker: Any) -> None:
    if WorkerRunner is None:
        await PipelineRunner(handle_sigint=False).run(worker)
    else:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()
