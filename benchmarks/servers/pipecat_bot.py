"""The pipecat bot of both transports' rows: without services, so that what is measured is the pipeline."""

from __future__ import annotations

import sys
import time

from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from ..frames import FRAME_BYTES, PLAY_S, Answers, answer, interrupts
from .control import COUNTS, arguments

role = arguments()[0]
RATE_HZ = 16_000
ANSWER = answer(PLAY_S)
ANSWERS = Answers()

logger.remove()
logger.add(sys.stderr, level="ERROR")


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
            COUNTS["received"] += len(frame.audio) // FRAME_BYTES  # of the wire
            await self.answer(frame.audio)
        else:
            await self.push_frame(frame, direction)

    async def answer(self, pcm: bytes) -> None:
        parts = [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]  # as on the wire
        if role == "barge-in" and any(map(interrupts, parts)):
            self.generation += 1
            flushed_s = time.monotonic()
            await self.broadcast_interruption()  # type: ignore[no-untyped-call,unused-ignore]
            await self.push_frame(audio(ANSWERS.after(self.generation, flushed_s)))
        elif role in ("echo", "barge-in"):
            await self.push_frame(audio(pcm))
        elif role == "play" and not self.answered:
            self.answered = True
            await self.push_frame(audio(ANSWER))


async def run_bot(transport: BaseTransport) -> None:
    COUNTS["connected"] += 1
    worker = PipelineWorker(
        Pipeline([transport.input(), Bot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        cancel_on_idle_timeout=False,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport: BaseTransport, client: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
