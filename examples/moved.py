"""A program of 0.1.x with the new imports: nothing else in it was changed. It says back what it hears.

python examples/moved.py                 # listens on ws://localhost:8765
"""

import asyncio
import contextlib
import os

from vonage_audio_connector_server import AudioConnectorServerConfig, Video

# These two stood here before, and still work:
# from audio_connector_sdk.vonage_video.models.audio_connector import AudioConnectorServerConfig
# from audio_connector_sdk.vonage_video import Video


async def on_start():
    print("Server started.", flush=True)


async def on_stop():
    print("Server stopped.", flush=True)


async def on_connect(client):
    print("Client connected to", client.info().uri)

    async def on_message(message):
        if isinstance(message, bytes):
            await client.send_audio_buffer(
                message, bytes_per_sample=640, frames_ms=20, pad_last_frame=True, flush_buffer=False
            )
        else:
            print("Received event:", message)

    async def on_disconnect():
        print("Client disconnected.")

    async def on_error(error):
        print(f"Error occurred: {error}")

    client.set_handler(on_message=on_message, on_disconnect=on_disconnect, on_error=on_error)


async def main():
    port = int(os.environ.get("PORT", "8765"))
    config = AudioConnectorServerConfig(
        host="localhost", port=port, on_start=on_start, on_stop=on_stop, on_connect=on_connect
    )
    server_handle = await Video().start_audio_connector_server(config)
    try:
        await asyncio.Event().wait()
    finally:
        await server_handle.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
