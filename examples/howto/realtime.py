"""Carries a call to a realtime model and back. The model takes and gives 24 kHz, the call has a rate of its own.

vonage-audio-connector talk examples/howto/realtime.py:app
"""

import json
from base64 import b64decode, b64encode

import anyio

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.audio import Base64Audio


class Model:
    """Stands for the connection to your model: it says back what it hears, in chunks that end anywhere."""

    def __init__(self) -> None:
        self.says, self.events = anyio.create_memory_object_stream[dict[str, str]](1_000)

    async def send(self, event: str) -> None:
        pcm = b64decode(json.loads(event)["audio"])
        for chunk in (pcm[:333], pcm[333:]):
            await self.says.send({"type": "audio", "delta": b64encode(chunk).decode()})


async def listen(client: Client, model: Model) -> None:
    audio = Base64Audio()
    async for event in model.events:
        if event["type"] == "audio":
            client.send_audio_buffer(audio.push(event["delta"]))
        elif event["type"] == "speech_started":  # the caller interrupts
            client.flush_buffer()
            audio.reset()


async def on_connect(client: Client) -> None:
    model = Model()
    async with model.says, model.events, anyio.create_task_group() as tasks:
        tasks.start_soon(listen, client, model)
        async for message in client:
            if isinstance(message, bytes):  # 20 ms at 24 kHz: 960 bytes
                await model.send(json.dumps({"type": "append", "audio": b64encode(message).decode()}))
        tasks.cancel_scope.cancel()


app = AudioConnector(on_connect, sample_rate_hz=24_000)
