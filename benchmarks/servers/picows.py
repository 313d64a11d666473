"""picows alone, the limit of what Python can do: a callback for each frame, no queue, no pacing, no back-pressure."""

from __future__ import annotations

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from .control import COUNTS, arguments, ready

role, port, variant = arguments()
ECHO = role == "echo"


class Listener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        COUNTS["connected"] += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            COUNTS["received"] += 1
            message = frame.get_payload_as_bytes()  # what every user of the others gets
            if ECHO:
                transport.send(WSMsgType.BINARY, message)
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()


def listener(request: WSUpgradeRequest) -> Listener:
    return Listener()


async def main() -> None:
    server = await ws_create_server(listener, "127.0.0.1", port)
    ready(f"{variant or 'asyncio'}, picows")
    await server.serve_forever()


if variant == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
