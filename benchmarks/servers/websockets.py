"""Plain `websockets`: its asyncio server, without compression, as PCM grows under it. No pacing, no flush."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection, serve

from .control import COUNTS, arguments, ready

role, port, _ = arguments()


async def handler(connection: ServerConnection) -> None:
    COUNTS["connected"] += 1
    async for message in connection:
        COUNTS["received"] += 1
        if role == "echo" and isinstance(message, bytes):
            await connection.send(message)


async def main() -> None:
    async with serve(handler, "127.0.0.1", port, compression=None):
        ready("asyncio, websockets")
        await asyncio.Event().wait()


asyncio.run(main())
