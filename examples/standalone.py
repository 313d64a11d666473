"""The SDK guide's program, over TLS.

    python examples/standalone.py cert.pem key.pem      # listens on wss://localhost:8765
"""

import asyncio
import ssl
import sys

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video

ssl_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


async def on_start() -> None:
    print("Server started.", flush=True)


async def on_stop() -> None:
    print("Server stopped.", flush=True)


async def on_connect(client: Client) -> None:
    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    async def on_disconnect() -> None:
        print("Client disconnected.", flush=True)

    async def on_error(error: Exception) -> None:
        print(f"Error occurred: {error}", flush=True)

    client.set_handler(on_message=on_message, on_disconnect=on_disconnect, on_error=on_error)


async def main() -> None:
    video = Video()

    config = AudioConnectorServerConfig(
        host="localhost",
        port=8765,
        ssl=ssl_context,
        on_start=on_start,
        on_stop=on_stop,
        on_connect=on_connect
    )

    server_handle = await video.start_audio_connector_server(config)
    await server_handle.wait_closed()


if __name__ == "__main__":
    ssl_context.load_cert_chain(*sys.argv[1:])
    asyncio.run(main())
