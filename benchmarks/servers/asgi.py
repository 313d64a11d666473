"""A bare ASGI application under plain uvicorn: the least that any library can cost there."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from .control import COUNTS, arguments, ready

role, port, _ = arguments()
ECHO = role == "echo"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    COUNTS["connected"] += 1
    while (message := await receive())["type"] == "websocket.receive":
        COUNTS["received"] += 1
        if ECHO and message.get("bytes"):
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def main() -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="error", ws="websockets-sansio", loop="asyncio", lifespan="off"
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    ready("asyncio, websockets-sansio")
    await serving


asyncio.run(main())
