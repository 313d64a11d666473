"""A FastAPI app whose POST /connect lets its bot join a live session.

uvicorn --app-dir examples/howto connect_endpoint:app
"""

import os

from fastapi import FastAPI

from vonage_audio_connector_server import AudioConnector, Client, OneTimeTokens, SharedSecret


async def on_connect(client: Client) -> None:
    async for message in client:
        if isinstance(message, bytes):
            client.send_audio_buffer(message)  # your bot


connector = AudioConnector(on_connect, authorize=OneTimeTokens(os.environ["AUDIO_CONNECTOR_KEY"]))
app = FastAPI(lifespan=connector.lifespan)
app.mount("/vonage", connector)
app.router.routes.append(
    connector.connect_route(
        uri=os.environ["WS_URI"],  # the public address of /vonage
        authorize=SharedSecret(os.environ["CONNECT_SECRET"], header="authorization"),
    )
)
