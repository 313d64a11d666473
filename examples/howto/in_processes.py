"""Recognises each turn in a worker process, which has an interpreter of its own.

vonage-audio-connector serve examples/howto/in_processes.py:app
"""

import os
from functools import cache

import anyio
import anyio.to_process

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.speech import SpeechEnded


@cache
def model() -> str:
    """Stands for loading your model, which each worker does once."""
    return f"model in process {os.getpid()}"


def recognise(pcm: bytes) -> str:
    """Runs in a worker. It stands for your model, and keeps the interpreter busy."""
    return f"{model()}: {sum(sample * sample for sample in memoryview(pcm).cast('h'))}"


async def on_start() -> None:
    await anyio.to_process.run_sync(recognise, b"")  # a worker with its model, before the first call
    print(f"ready in process {os.getpid()}", flush=True)


async def on_connect(client: Client) -> None:
    async for turn in client.turns():
        if isinstance(turn, SpeechEnded):
            print(await anyio.to_process.run_sync(recognise, turn.pcm), flush=True)


app = AudioConnector(on_connect, on_start=on_start, sample_rate_hz=16_000)  # that of the model
