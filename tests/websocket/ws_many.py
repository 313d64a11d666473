"""A server, as a process of its own, whose app tells what its memory was at its peak while many messages came.

    python ws_many.py MODULE:CLASS LOOP

It prints its port. A message of 4 bytes must be its own number; a text asks for the peak, in KiB.
"""

from __future__ import annotations

import resource
import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    count = 0
    while (message := await receive())["type"] == "websocket.receive":
        data = message.get("bytes")
        if data is None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await send({"type": "websocket.send", "text": f"{count} {peak}"})
        else:
            assert int.from_bytes(data) == count
            count += 1


class Server(uvicorn.Server):
    """Ends when its first connection has come and gone."""

    seen = False

    async def on_tick(self, counter: int) -> bool:
        self.seen = self.seen or bool(self.server_state.connections)
        return await super().on_tick(counter) or (self.seen and not self.server_state.connections)


def main() -> None:
    ws, loop = sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201 -- how the test learns it
        config = uvicorn.Config(app, ws=ws, loop=loop, http="h11", lifespan="off", log_level="error")
        Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
