"""Inside a FastAPI app: calls reach ws://HOST/vonage/..., everything else is yours.

uvicorn --app-dir examples fastapi_mount:app --ws-max-size 65536 --ws-per-message-deflate false
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vonage_audio_connector_server import AudioConnector, Client

try:
    from fastapi import FastAPI
except ImportError:
    raise SystemExit("fastapi_mount.py needs FastAPI; in the checkout: pip install '.[examples]'") from None

calls: dict[str, Client] = {}


async def on_connect(client: Client) -> None:
    call_id = client.info().id
    calls[call_id] = client

    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    client.set_handler(on_message=on_message, on_disconnect=lambda: calls.pop(call_id))


connector = AudioConnector(on_connect, on_start=lambda: print("ready for calls"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connector.lifespan(app):  # a mounted app gets no lifespan of its own
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/vonage", connector)


@app.get("/calls")
async def list_calls() -> dict[str, float]:
    return {call_id: client.stats().duration_s for call_id, client in calls.items()}


@app.delete("/calls/{call_id}")
async def hang_up(call_id: str) -> None:
    await calls[call_id].disconnect()
