"""pipecat's FastAPI transport with its Vonage serializer, as in its telephone examples, without services."""

from __future__ import annotations

import sys
import time

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

from ..frames import PLAY_S, Answers, answer, interrupts
from .control import COUNTS, arguments, ready

role, port, _ = arguments()
RATE_HZ = 16_000
ANSWER = answer(PLAY_S)
ANSWERS = Answers()


def audio(pcm: bytes) -> OutputAudioRawFrame:
    return OutputAudioRawFrame(audio=pcm, sample_rate=RATE_HZ, num_channels=1)


class Bot(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.generation = 0
        self.answered = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            COUNTS["received"] += 1
            await self.answer(frame.audio)
        else:
            await self.push_frame(frame, direction)

    async def answer(self, pcm: bytes) -> None:
        if role == "barge-in" and interrupts(pcm):
            self.generation += 1
            flushed_s = time.monotonic()
            await self.broadcast_interruption()  # type: ignore[no-untyped-call,unused-ignore]
            await self.push_frame(audio(ANSWERS.after(self.generation, flushed_s)))
        elif role in ("echo", "barge-in"):
            await self.push_frame(audio(pcm))
        elif role == "play" and not self.answered:
            self.answered = True
            await self.push_frame(audio(ANSWER))


app = FastAPI()


@app.websocket("/")
async def endpoint(websocket: WebSocket) -> None:
    await websocket.accept()
    COUNTS["connected"] += 1
    transport = FastAPIWebsocketTransport(
        websocket,
        FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_10ms_chunks=2,  # the session wants frames of 20 ms
            audio_out_auto_silence=False,  # or it would send silence while nothing is said
            serializer=VonageFrameSerializer(),
        ),
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), Bot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        cancel_on_idle_timeout=False,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport: FastAPIWebsocketTransport, websocket: WebSocket) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


logger.remove()
logger.add(sys.stderr, level="ERROR")


class Server(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        ready("asyncio, uvicorn")


Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", loop="asyncio")).run()
