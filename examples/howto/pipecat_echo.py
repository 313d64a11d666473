"""The smallest pipecat bot on a call: it says what it hears.

vonage-audio-connector simulate examples/howto/pipecat_echo.py:app --path /vonage --input examples/audio/librivox-2.wav
"""

from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from vonage_audio_connector_server import AudioConnector
from vonage_audio_connector_server.integrations.pipecat import VonageAudioConnectorTransport


class Echo(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        await self.push_frame(frame, direction)


async def run_bot(transport):
    worker = PipelineWorker(Pipeline([transport.input(), Echo(), transport.output()]))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


connector = AudioConnector()
app = FastAPI()


@app.websocket("/vonage")
async def vonage(websocket: WebSocket):
    async with connector.connect(websocket) as client:
        await run_bot(VonageAudioConnectorTransport(client))
