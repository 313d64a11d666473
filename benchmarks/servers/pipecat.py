"""pipecat's FastAPI transport with its Vonage serializer, as in its telephone examples, without services."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

from .control import arguments, ready
from .pipecat_bot import run_bot

_, port, _ = arguments()
app = FastAPI()


@app.websocket("/")
async def endpoint(websocket: WebSocket) -> None:
    await websocket.accept()
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
    await run_bot(transport)


class Server(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        ready("asyncio, uvicorn")


Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", loop="asyncio")).run()
