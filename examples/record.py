"""Writes a WAV file per connection, named by the connection's id.

python examples/record.py                # listens on ws://localhost:8765, writes into the current folder
"""

import os
import wave
from pathlib import Path

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video


async def on_connect(client: Client) -> None:
    audio_format = await client.wait_format()
    path = Path(os.environ.get("RECORDINGS", ".")) / f"{client.info().id}.wav"
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(audio_format.rate_hz)
        async for message in client:
            if isinstance(message, bytes):
                recording.writeframesraw(message)
    print(f"{path}: {client.stats().frames_in} frames")


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
