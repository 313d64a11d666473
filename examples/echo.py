"""Sends every frame of audio back as it comes: the shortest way to hear that a call reaches you.

python examples/echo.py                  # listens on ws://localhost:8765
uvicorn --app-dir examples echo:app      # the same under an ASGI server of your choice
"""

import os

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video


async def on_connect(client: Client) -> None:
    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    client.set_handler(on_message=on_message)


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
