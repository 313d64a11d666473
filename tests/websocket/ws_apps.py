"""The apps of the WebSocket tests: raw ASGI, none of the library."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send


async def accept(receive: Receive, send: Send, **more: Any) -> None:
    """Take the connect message and accept."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", **more})


def content(message: Message) -> bytes | str:
    """What a `websocket.receive` brings."""
    assert message["type"] == "websocket.receive", message
    text: str | None = message.get("text")
    data: bytes | None = message.get("bytes")
    assert (text is None) != (data is None), message
    return text if text is not None else data  # type: ignore[return-value]  # one of them is there


def said(message: bytes | str) -> Message:
    """A `websocket.send`."""
    return {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back what comes, up to the disconnect."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send(said(content(message)))


class Recorder:
    """An app that accepts and keeps what comes, up to the disconnect."""

    def __init__(self) -> None:
        self.received: list[bytes | str] = []
        self.first = asyncio.Event()
        self.ended: asyncio.Queue[Message] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            self.received.append(content(message))
            self.first.set()
        self.ended.put_nowait(message)

    async def disconnect(self) -> tuple[int, str]:
        """Wait for the disconnect: its code and reason."""
        message = await self.ended.get()
        assert message["type"] == "websocket.disconnect"
        return message["code"], message.get("reason") or ""


async def settled(recorded: list[int]) -> int:
    """The sum of a list that grows, once it stands still: there is no event for what does not happen."""
    still, last = 0, -1
    while still < 10:
        now = sum(recorded)
        still, last = (still + 1 if now == last else 0), now
        await asyncio.sleep(0.01)
    return last
